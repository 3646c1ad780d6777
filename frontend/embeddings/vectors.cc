#include "frontend/embeddings/vectors.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/base/check.h"

namespace echelon {
namespace {

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace

std::vector<float> shaped(std::span<const float> vector, int64_t dimensions, bool normalize) {
  if (dimensions > 0) vector = vector.first(std::min(vector.size(), static_cast<size_t>(dimensions)));
  std::vector<float> out(vector.begin(), vector.end());
  const double length = normalize ? std::sqrt(dot(vector, vector)) : 0;
  if (length == 0) return out;
  for (float& value : out) value = static_cast<float>(static_cast<double>(value) / length);
  return out;
}

double cosine(std::span<const float> a, std::span<const float> b) {
  ECHELON_CHECK(a.size() == b.size());
  const double lengths = std::sqrt(dot(a, a) * dot(b, b));  // of floats: far from the ends of a double
  return lengths == 0 ? 0 : std::clamp(dot(a, b) / lengths, -1.0, 1.0);
}

std::string base64(std::span<const uint8_t> bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? bytes[at + i] : 0u);
    for (size_t i = 0; i < 4; ++i) text += i <= count ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

std::string base64_of_floats(std::span<const float> values) {
  std::vector<uint8_t> bytes;
  bytes.reserve(values.size_bytes());
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(bits >> shift));
  }
  return base64(bytes);
}

}  // namespace echelon
