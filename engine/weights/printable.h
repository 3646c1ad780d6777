// Names that come from files, as they may stand in messages: short, and without control characters.
// Header-only; for this folder.
#pragma once

#include <string>
#include <string_view>

namespace echelon {

inline std::string printable(std::string_view text) {
  constexpr size_t kMaxShown = 80;
  std::string out;
  for (const char c : text.substr(0, kMaxShown)) out += (c >= 32 && c < 127) ? c : '?';
  if (text.size() > kMaxShown) out += "...";
  return out;
}

}  // namespace echelon
