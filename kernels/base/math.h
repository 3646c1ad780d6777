// Logarithm, exponential, sine and cosine in double precision, written out in plain additions and multiplications, so
// that no bit depends on the C library or the processor. For tables and sampling, not for inner loops: 5 to 20 ns a
// call. Errors below are checked against 80-bit results in tests/kernels/math_test.cc. Safe from any thread; round to
// nearest assumed; the same bits whether subnormals are flushed or not.
#pragma once

namespace echelon::math {

/// Natural logarithm: relative error below 4e-16. x < 0 or NaN: NaN; 0 and subnormals: -infinity; infinity: itself.
double log(double x);

/// e^x: relative error below 4e-16. Infinity above 709.78; 0 below -700 (before subnormals begin); NaN: NaN.
double exp(double x);

/// exp(y log x), x > 0: relative error below 4e-16 (2 + |y log x|). x = 0, y > 0: 0.
double pow(double x, double y);

struct SinCos {
  double sin = 0, cos = 0;
};

/// Largest |x| that sin_cos takes (checked); beyond it the reduction would lose digits. Above a million positions.
inline constexpr double kMaxAngle = 1.6e6;

/// Absolute error below 3e-16. |x| <= kMaxAngle.
SinCos sin_cos(double x);

}  // namespace echelon::math
