// Zeroed memory on whole cache lines; from 2 MiB on, on whole huge pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace echelon::cpu {

inline constexpr size_t kCacheLineBytes = 64;
inline constexpr size_t kHugePageBytes = size_t{2} << 20;

/// Deleter of AlignedMemory.
struct FreeAligned {
  size_t mapped_bytes = 0;  ///< 0: from the heap
  void operator()(std::byte* data) const;
};

/// Owns size_bytes of zeroed memory, 64-byte aligned (2 MiB when large). Throws std::bad_alloc.
class AlignedMemory {
 public:
  AlignedMemory() = default;
  explicit AlignedMemory(size_t size_bytes);

  std::byte* data() const { return data_.get(); }
  size_t size_bytes() const { return size_bytes_; }
  template <typename T>
  T* get() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  std::unique_ptr<std::byte[], FreeAligned> data_;
  size_t size_bytes_ = 0;
};

/// Cuts many small pieces (weight matrices) from few large chunks, so that they lie on huge pages: 17 -> 24 GB/s read
/// by one Zen 4 core. A piece keeps its chunk alive; the unused tail of a chunk is never touched. Used by one thread at
/// a time.
class ChunkedMemory {
 public:
  static constexpr size_t kChunkBytes = size_t{64} << 20;

  /// 64-byte aligned, zeroed. The owners of a chunk are this object and its pieces.
  std::shared_ptr<uint8_t[]> allocate(size_t size_bytes);

 private:
  std::shared_ptr<AlignedMemory> chunk_;
  size_t used_bytes_ = 0;
};

}  // namespace echelon::cpu
