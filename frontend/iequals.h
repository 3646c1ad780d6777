// Texts that are equal but for the case of ASCII letters: names and words of HTTP. Beast 1.81 has such a function, which
// reads a byte behind the end of texts whose case differs.
#pragma once

#include <algorithm>
#include <string_view>

namespace echelon {

inline bool iequals(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace echelon
