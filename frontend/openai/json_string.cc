// Most texts have nothing to escape: they are copied whole.
#include "frontend/openai/json_string.h"

#include <algorithm>

namespace echelon {
namespace {

bool is_escaped(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; }

void append_escape(std::string& out, char c) {
  constexpr std::string_view kDigits = "0123456789abcdef", kShort = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt";
  out += '\\';
  if (const size_t at = kShort.find(c); at != kShort.npos) {
    out += kNames[at];
    return;
  }
  out += "u00";
  out += kDigits[static_cast<unsigned char>(c) >> 4];
  out += kDigits[static_cast<unsigned char>(c) & 15];
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const auto plain = static_cast<size_t>(std::find_if(text.begin(), text.end(), is_escaped) - text.begin());
    out += text.substr(0, plain);
    if (plain == text.size()) return;
    append_escape(out, text[plain]);
    text.remove_prefix(plain + 1);
  }
}

}  // namespace echelon
