// The file is complete and private under a name of its own before it takes its final name: nobody sees half of it, and
// a link that somebody put in its place is replaced, not followed.
#include "launch/generated_key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "kernels/base/error.h"
#include "parallel/control/secret.h"

namespace echelon {
namespace {

constexpr size_t kKeyBytes = 24;

/// Empty, or why not.
std::string write_private(const std::filesystem::path& path, const std::string& text) {
  const std::string unfinished = fmt::format("{}.{}", path.string(), ::getpid());
  ::unlink(unfinished.c_str());
  const int file = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return std::strerror(errno);
  const bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const bool closed = ::close(file) == 0;
  if (written && closed && ::rename(unfinished.c_str(), path.c_str()) == 0) return "";
  const std::string reason = std::strerror(errno);
  ::unlink(unfinished.c_str());
  return reason;
}

}  // namespace

std::string random_api_key() {
  std::array<std::byte, kKeyBytes> bytes;
  fill_random(bytes);
  std::string key = "sk-";
  for (const std::byte each : bytes) key += fmt::format("{:02x}", std::to_integer<unsigned>(each));
  return key;
}

std::vector<std::filesystem::path> key_folders() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value != nullptr && value[0] == '/' ? value : "");
  };
  std::vector<std::filesystem::path> folders;
  if (const auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) {
    folders.push_back(cache / "echelon" / "keys");
  } else if (const auto home = variable("HOME"); !home.empty()) {
    folders.push_back(home / ".cache" / "echelon" / "keys");
  }
  if (const auto runtime = variable("XDG_RUNTIME_DIR"); !runtime.empty()) folders.push_back(runtime / "echelon");
  return folders;
}

std::filesystem::path write_api_key(const std::string& key, const std::string& host, int port,
                                    const std::vector<std::filesystem::path>& folders) {
  std::string tried = folders.empty() ? " HOME is not set" : "";
  for (const std::filesystem::path& folder : folders) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    const std::filesystem::path path = folder / fmt::format("{}-{}.key", host, port);
    const std::string reason = error ? error.message() : write_private(path, key + "\n");
    if (reason.empty()) return path;
    tried += fmt::format(" {}: {};", path.string(), reason);
  }
  throw Error(Part::launch, fmt::format("others can reach the server, and a key made for it cannot be kept:{} give "
                                        "--api-key-file, or --no-api-key to serve anybody",
                                        tried));
}

}  // namespace echelon
