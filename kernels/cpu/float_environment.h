// The one floating-point mode in which Echelon computes: round to nearest even, subnormal results and inputs are zero.
// MXCSR belongs to a thread: every thread that runs a kernel holds a FloatEnvironment meanwhile (ThreadPool does so).
#pragma once

#include <xmmintrin.h>

namespace echelon::cpu {

/// Sets the mode of this thread for its own lifetime and restores what was there. About 10 ns. Not shared between
/// threads.
class FloatEnvironment {
 public:
  /// Exceptions masked (0x1f80), flush to zero (0x8000), denormals are zero (0x0040), round to nearest (no bits).
  static constexpr unsigned kMode = 0x9fc0u;

  FloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(kMode); }
  ~FloatEnvironment() { _mm_setcsr(saved_); }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  unsigned saved_;
};

}  // namespace echelon::cpu
