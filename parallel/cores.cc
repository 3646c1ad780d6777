#include "parallel/cores.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <sstream>

namespace echelon {
namespace {

static_assert(CoreSet::kMax == CPU_SETSIZE);

/// One core, with all of its hardware threads or without.
bool is_one_core(const CoreSet& cores) {
  if (cores.count() <= 1) return cores.count() == 1;
  for (int core = 0; core < CoreSet::kMax; ++core) {
    if (!cores.has(core)) continue;
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", core));
    std::string siblings;
    std::getline(file, siblings);
    return parse_cores(siblings) == cores;
  }
  return false;
}

}  // namespace

int CoreSet::count() const {
  int total = 0;
  for (const uint64_t word : words) total += std::popcount(word);
  return total;
}

CoreSet& CoreSet::operator|=(const CoreSet& other) {
  for (size_t i = 0; i < words.size(); ++i) words[i] |= other.words[i];
  return *this;
}

std::string to_string(const CoreSet& cores) {
  std::string text;
  for (int first = 0; first < CoreSet::kMax; ++first) {
    if (!cores.has(first)) continue;
    int last = first;
    while (last + 1 < CoreSet::kMax && cores.has(last + 1)) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", first);
    if (last > first) text += fmt::format("-{}", last);
    first = last;
  }
  return text;
}

CoreSet parse_cores(const std::string& text) {
  CoreSet cores;
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');) {
    std::istringstream range(item);
    int first = -1, last = -1;
    char dash = 0;
    if (!(range >> first)) continue;
    if (!(range >> dash >> last) || dash != '-') last = first;
    for (int core = std::max(first, 0); core <= std::min(last, CoreSet::kMax - 1); ++core) cores.add(core);
  }
  return cores;
}

CoreSet bound_cores() {
  CoreSet cores;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return cores;
  for (int core = 0; core < CoreSet::kMax; ++core) {
    if (CPU_ISSET(core, &mask)) cores.add(core);
  }
  return cores;
}

CoreSet widen_binding() {
  const CoreSet given = bound_cores();
  if (!is_one_core(given)) return given;
  cpu_set_t all;
  CPU_ZERO(&all);
  for (int core = 0; core < CoreSet::kMax; ++core) CPU_SET(core, &all);
  sched_setaffinity(0, sizeof(all), &all);  // the kernel leaves out what the cgroup does not allow
  return bound_cores();
}

}  // namespace echelon
