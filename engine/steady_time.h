// Readings of the clock that only goes forward.
#pragma once

#include <chrono>
#include <cstdint>

namespace echelon {

inline int64_t milliseconds_now() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace echelon
