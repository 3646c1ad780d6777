// The machine that a figure is from, in one line: processor, cores, load of the last minute, date.
#pragma once

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>

namespace echelon::bench {

inline std::string machine_line() {
  std::string processor = "unknown processor", family, model;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line) && !line.empty();) {
    const size_t colon = line.find(": ");
    if (colon == line.npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.starts_with("model name")) processor = value;
    if (line.starts_with("cpu family")) family = value;
    if (line.starts_with("model\t")) model = value;
  }
  double load = 0;
  ::getloadavg(&load, 1);
  return fmt::format("{} (family {}, model {}), {} cores, load {:.1f}, {:%Y-%m-%d}", processor, family, model,
                     std::thread::hardware_concurrency(), load, fmt::gmtime(std::time(nullptr)));
}

}  // namespace echelon::bench
