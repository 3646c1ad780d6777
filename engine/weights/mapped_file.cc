// mmap of a regular file, read-only and private.
// The descriptor is closed at once: the mapping keeps the file.
#include "engine/weights/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "kernels/base/error.h"

namespace echelon {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw Error(Part::weights, fmt::format("{}: {}", path, why));
}

std::string reason(int error) { return std::generic_category().message(error); }

struct Descriptor {
  int value = -1;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (descriptor.value < 0) fail(path, "cannot open: " + reason(errno));
  struct stat status = {};
  if (::fstat(descriptor.value, &status) != 0) fail(path, "cannot read its size: " + reason(errno));
  if (!S_ISREG(status.st_mode)) fail(path, "is not a regular file");
  if (status.st_size <= 0) fail(path, "is empty");
  const auto size = static_cast<size_t>(status.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.value, 0);
  if (address == MAP_FAILED) fail(path, fmt::format("cannot map {} bytes: {}", size, reason(errno)));
  return std::shared_ptr<const MappedFile>(new MappedFile(path, {static_cast<const std::byte*>(address), size}));
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

void MappedFile::advise(uint64_t offset, uint64_t num_bytes, int advice) const {
  if (offset >= bytes_.size() || num_bytes == 0) return;
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t end = offset + std::min<uint64_t>(num_bytes, bytes_.size() - offset);
  const uint64_t begin = offset / page * page;
  ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, advice);
}

void MappedFile::advise_sequential(uint64_t offset, uint64_t num_bytes) const {
  advise(offset, num_bytes, MADV_SEQUENTIAL);
  advise(offset, num_bytes, MADV_WILLNEED);
}

void MappedFile::advise_done(uint64_t offset, uint64_t num_bytes) const { advise(offset, num_bytes, MADV_DONTNEED); }

}  // namespace echelon
