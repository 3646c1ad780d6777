#include "engine/host_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace echelon {
namespace {

/// A number in a small file; nothing when the file is absent or says "max".
bool read_number(const char* path, uint64_t& value) {
  std::ifstream file(path);
  return static_cast<bool>(file >> value);
}

}  // namespace

uint64_t available_host_bytes() {
  uint64_t available = std::numeric_limits<uint64_t>::max();
  std::ifstream info("/proc/meminfo");
  for (std::string key; info >> key;) {
    uint64_t kib = 0;
    if (key == "MemAvailable:" && info >> kib) {
      available = kib * 1024;
      break;
    }
    info.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  uint64_t limit = 0, used = 0;
  if (read_number("/sys/fs/cgroup/memory.max", limit) && read_number("/sys/fs/cgroup/memory.current", used)) {
    available = std::min(available, limit > used ? limit - used : 0);
  }
  return available;
}

uint64_t resident_bytes() {
  uint64_t total = 0, resident = 0;
  std::ifstream file("/proc/self/statm");
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

double process_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace echelon
