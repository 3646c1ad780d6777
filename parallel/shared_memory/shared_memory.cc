// POSIX shared memory with errors that say what to do. File descriptors are closed as soon as the memory is mapped, so
// that nothing is inherited over fork and exec.
#include "parallel/shared_memory/shared_memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr uint64_t kMaxWindowBytes = uint64_t{1} << 42;
constexpr int64_t kStaleAfterSeconds = 600;
constexpr int kMaxDirectoryEntries = 100'000;

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(Part::parallel, fmt::format("shared memory: {}: {}", what, std::strerror(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

void check_free_space(int fd, uint64_t num_bytes) {
  struct statvfs space {};
  if (fstatvfs(fd, &space) != 0) fail("statvfs of /dev/shm", errno);
  const uint64_t num_free = uint64_t{space.f_bavail} * space.f_frsize;
  if (space.f_blocks != 0 && num_free < num_bytes) {
    throw Error(
        Part::parallel,
        fmt::format(
            "shared memory: the ranks of this host need {} MiB in /dev/shm, but {} MiB are free; enlarge it (in a "
            "container: --shm-size) or run fewer ranks on the host",
            (num_bytes >> 20) + 1, num_free >> 20));
  }
}

std::byte* map(int fd, uint64_t num_bytes, int flags, const std::string& what) {
  void* address = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (address == MAP_FAILED) fail(fmt::format("mapping {} bytes of {}", num_bytes, what), errno);
  return static_cast<std::byte*>(address);
}

std::string name_prefix() { return fmt::format("echelon-{}-", geteuid()); }

}  // namespace

SharedMemory::SharedMemory(std::byte* data, uint64_t num_bytes, std::string name)
    : data_(data), num_bytes_(num_bytes), name_(std::move(name)) {}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      num_bytes_(std::exchange(other.num_bytes_, 0)),
      name_(std::exchange(other.name_, {})) {}

SharedMemory::~SharedMemory() {
  unlink();
  if (data_ != nullptr) munmap(data_, num_bytes_);
}

void SharedMemory::unlink() {
  if (!name_.empty()) shm_unlink(name_.c_str());
  name_.clear();
}

SharedMemory SharedMemory::create(const std::string& name, uint64_t num_bytes) {
  ECHELON_CHECK(num_bytes > 0 && num_bytes <= kMaxWindowBytes, "{} bytes", num_bytes);
  const Descriptor fd(shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  if (fd.get() < 0) fail("creating " + name + " in /dev/shm", errno);
  SharedMemory memory(nullptr, 0, name);  // unlinks when something below throws
  check_free_space(fd.get(), num_bytes);
  const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(num_bytes));
  if (error != 0) fail(fmt::format("reserving {} MiB in /dev/shm", (num_bytes >> 20) + 1), error);
  memory.data_ = map(fd.get(), num_bytes, MAP_SHARED, name);
  memory.num_bytes_ = num_bytes;
  return memory;
}

std::optional<SharedMemory> SharedMemory::open(const std::string& name, uint64_t num_bytes) {
  ECHELON_CHECK(num_bytes > 0 && num_bytes <= kMaxWindowBytes, "{} bytes", num_bytes);
  const Descriptor fd(shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0));
  if (fd.get() < 0 && errno == ENOENT) return std::nullopt;
  if (fd.get() < 0) fail("opening " + name, errno);
  struct stat facts {};
  if (fstat(fd.get(), &facts) != 0) fail("fstat of " + name, errno);
  if (facts.st_uid != geteuid())
    throw Error(Part::parallel, fmt::format("shared memory: {} belongs to another user", name));
  if (facts.st_size == 0) return std::nullopt;
  if (facts.st_size < 0 || static_cast<uint64_t>(facts.st_size) != num_bytes) {
    throw Error(Part::parallel,
                fmt::format("shared memory: {} has {} bytes, {} were announced", name, facts.st_size, num_bytes));
  }
  return SharedMemory(map(fd.get(), num_bytes, MAP_SHARED, name), num_bytes, {});
}

SharedMemory SharedMemory::anonymous(uint64_t num_bytes) {
  ECHELON_CHECK(num_bytes > 0 && num_bytes <= kMaxWindowBytes, "{} bytes", num_bytes);
  return SharedMemory(map(-1, num_bytes, MAP_SHARED | MAP_ANONYMOUS, "anonymous memory"), num_bytes, {});
}

std::string shared_memory_name(const std::string& what) { return "/" + name_prefix() + what; }

void unlink_shared_memory(const std::string& name) { shm_unlink(name.c_str()); }

void remove_stale_shared_memory() {
  DIR* directory = opendir("/dev/shm");
  if (directory == nullptr) return;
  const std::string prefix = name_prefix();
  for (int i = 0; i < kMaxDirectoryEntries; ++i) {
    const dirent* entry = readdir(directory);
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    struct stat facts {};
    if (!name.starts_with(prefix) || fstatat(dirfd(directory), name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    const bool ours = S_ISREG(facts.st_mode) && facts.st_uid == geteuid();
    if (ours && std::time(nullptr) - facts.st_mtime > kStaleAfterSeconds) shm_unlink(("/" + name).c_str());
  }
  closedir(directory);
}

}  // namespace echelon
