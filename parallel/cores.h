// Cores of the host: those that a rank may run on, and those that it could.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace echelon {

/// Logical cores by number, as the kernel's affinity masks have them. All zero: not known.
struct CoreSet {
  static constexpr int kMax = 1024;
  std::array<uint64_t, kMax / 64> words{};

  bool has(int core) const { return (words[static_cast<size_t>(core) / 64] >> (core % 64) & 1) != 0; }
  void add(int core) { words[static_cast<size_t>(core) / 64] |= uint64_t{1} << (core % 64); }
  int count() const;
  CoreSet& operator|=(const CoreSet& other);
  bool operator==(const CoreSet&) const = default;
};

/// "0-3,8".
std::string to_string(const CoreSet& cores);
/// Of what to_string() and the files of /sys write; what is no core is left out.
CoreSet parse_cores(const std::string& text);

/// Those that the calling thread may run on.
CoreSet bound_cores();
/// A launcher may bind a rank to one core, which its threads then share while others idle. Such a thread, and those it
/// starts, get all the cores that the cgroup allows; one with more cores keeps them. Returns what it may use then.
CoreSet widen_binding();

}  // namespace echelon
