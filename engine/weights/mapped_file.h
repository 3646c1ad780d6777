// A file mapped read-only into memory. Owns the mapping; everything that views its bytes shares the ownership of it.
// A file that another process truncates while it is mapped ends this process with SIGBUS: replace weights by a new
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace echelon {

/// Immutable after open; safe from several threads. Sizes are 64-bit.
class MappedFile {
 public:
  /// Maps a regular file. Throws Error(Part::weights) with path and reason: missing, no permission, not a regular file,
  /// empty.
  static std::shared_ptr<const MappedFile> open(const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Hints to the kernel about [offset, offset + num_bytes), clipped to the file: read it ahead in order, or drop our
  /// mapping of pages that were read once (they stay in the page cache). Never fails; costs one system call.
  void advise_sequential(uint64_t offset, uint64_t num_bytes) const;
  void advise_done(uint64_t offset, uint64_t num_bytes) const;

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes) : path_(std::move(path)), bytes_(bytes) {}
  void advise(uint64_t offset, uint64_t num_bytes, int advice) const;

  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace echelon
