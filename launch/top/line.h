// One line of a terminal: text with colours, cut at a width.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

enum class Colour : uint8_t { plain, bold, faint, red, green, yellow, blue, magenta, cyan };

class Line {
 public:
  /// Printable ASCII: a letter is a column.
  Line& add(std::string_view text, Colour colour = Colour::plain);
  /// Blanks up to this column.
  Line& to_column(int column);
  int length() const { return static_cast<int>(letters_.size()); }
  std::string text(int width, bool colour) const;

 private:
  std::string letters_;
  std::vector<Colour> colours_;
};

}  // namespace echelon
