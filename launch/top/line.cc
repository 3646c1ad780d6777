#include "launch/top/line.h"

#include <algorithm>

namespace echelon {
namespace {

std::string_view escape(Colour colour) {
  switch (colour) {
    case Colour::plain:
      return "\x1b[0m";
    case Colour::bold:
      return "\x1b[0;1m";
    case Colour::faint:
      return "\x1b[0;2m";
    case Colour::red:
      return "\x1b[0;31m";
    case Colour::green:
      return "\x1b[0;32m";
    case Colour::yellow:
      return "\x1b[0;33m";
    case Colour::blue:
      return "\x1b[0;34m";
    case Colour::magenta:
      return "\x1b[0;35m";
    case Colour::cyan:
      return "\x1b[0;36m";
  }
  return "";
}

}  // namespace

Line& Line::add(std::string_view text, Colour colour) {
  letters_ += text;
  colours_.resize(letters_.size(), colour);
  return *this;
}

Line& Line::to_column(int column) {
  if (column > length()) add(std::string(static_cast<size_t>(column - length()), ' '));
  return *this;
}

std::string Line::text(int width, bool colour) const {
  const size_t end = std::min(letters_.size(), static_cast<size_t>(std::max(width, 0)));
  if (!colour) {
    const size_t last = letters_.find_last_not_of(' ', end == 0 ? 0 : end - 1);
    return end == 0 || last == std::string::npos ? "" : letters_.substr(0, last + 1);
  }
  std::string out;
  Colour current = Colour::plain;
  for (size_t i = 0; i < end; ++i) {
    if (colours_[i] != current) out += escape(current = colours_[i]);
    out += letters_[i];
  }
  if (current != Colour::plain) out += escape(Colour::plain);
  return out;
}

}  // namespace echelon
