// aligned_memory.h: anonymous pages for what is large, the C++ heap for the rest.
#include "kernels/cpu/aligned_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace echelon::cpu {
namespace {

size_t round_up(size_t size_bytes, size_t unit) {
  if (size_bytes > SIZE_MAX - unit) throw std::bad_alloc();
  return (size_bytes + unit - 1) / unit * unit;
}

}  // namespace

void FreeAligned::operator()(std::byte* data) const {
  if (mapped_bytes > 0) {
    munmap(data, mapped_bytes);
  } else {
    std::free(data);
  }
}

AlignedMemory::AlignedMemory(size_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes < kHugePageBytes) {
    const size_t rounded = round_up(size_bytes == 0 ? 1 : size_bytes, kCacheLineBytes);
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kCacheLineBytes, rounded)));
    if (!data_) throw std::bad_alloc();
    std::memset(data_.get(), 0, rounded);
    return;
  }
  // Fresh pages are zero and stay untouched until used; map one huge page more and cut to a huge page's border.
  const size_t rounded = round_up(size_bytes, kHugePageBytes);
  const size_t mapped = round_up(rounded + 1, kHugePageBytes);
  void* const all = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) throw std::bad_alloc();
  std::byte* const begin = static_cast<std::byte*>(all);
  const size_t head = round_up(reinterpret_cast<uintptr_t>(begin), kHugePageBytes) - reinterpret_cast<uintptr_t>(begin);
  if (head > 0) munmap(begin, head);
  if (mapped - head > rounded) munmap(begin + head + rounded, mapped - head - rounded);
  data_ = {begin + head, FreeAligned{rounded}};
  madvise(data_.get(), rounded, MADV_HUGEPAGE);  // advice: where it fails, only speed changes
}

std::shared_ptr<uint8_t[]> ChunkedMemory::allocate(size_t size_bytes) {
  const size_t rounded = round_up(size_bytes == 0 ? 1 : size_bytes, kCacheLineBytes);
  if (!chunk_ || chunk_->size_bytes() - used_bytes_ < rounded) {
    chunk_ = std::make_shared<AlignedMemory>(rounded > kChunkBytes ? rounded : kChunkBytes);
    used_bytes_ = 0;
  }
  std::byte* piece = chunk_->data() + used_bytes_;
  used_bytes_ += rounded;
  return {chunk_, reinterpret_cast<uint8_t*>(piece)};
}

}  // namespace echelon::cpu
