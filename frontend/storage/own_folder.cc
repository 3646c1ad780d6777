// The lock is flock's. Some network file systems have none: then a warning says so.
#include "frontend/storage/own_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string_view option, const fs::path& path, std::string_view what, int error) {
  throw Error(Part::frontend, fmt::format("{}: cannot {} {}: {}", option, what, path.string(), std::strerror(error)));
}

}  // namespace

void make_own_folder(const fs::path& path, std::string_view option) {
  std::error_code error;
  if (fs::is_directory(path, error)) return;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) fail(option, path, "make", errno);
}

OwnFolder::OwnFolder(fs::path path, std::string_view option) : path_(std::move(path)) {
  make_own_folder(path_, option);
  const fs::path lock = path_ / "lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) fail(option, lock, "open", errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  if (error == ENOSYS || error == ENOLCK || error == EOPNOTSUPP) {
    log::warn("{}: the file system of {} has no locks; no other server may use this folder", option, path_.string());
    return;
  }
  ::close(lock_);
  if (error == EWOULDBLOCK)
    throw Error(Part::frontend, fmt::format("{} {}: another server uses it", option, path_.string()));
  fail(option, lock, "lock", error);
}

OwnFolder::~OwnFolder() { ::close(lock_); }

}  // namespace echelon
