// Arithmetic on pooled vectors, in double and in the order of their values, so that it is the same bits everywhere; and
// their bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace echelon {

/// The first `dimensions` values (0: all), to length 1 when that is asked for; a vector of zeros stays one.
std::vector<float> shaped(std::span<const float> vector, int64_t dimensions, bool normalize);

/// In [-1, 1]; 0 when one of them is zeros. Both have as many values (checked).
double cosine(std::span<const float> a, std::span<const float> b);

/// RFC 4648, with padding.
std::string base64(std::span<const uint8_t> bytes);
/// Of float32, little-endian.
std::string base64_of_floats(std::span<const float> values);

}  // namespace echelon
