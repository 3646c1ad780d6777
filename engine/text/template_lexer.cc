// The lexer. Outside tags: find the next tag, strip white space around it as its signs say. Inside: names, literals,
// operators. The rules of white space: "-" strips all of it, "+" none; a line break right after a block or comment is
// dropped, and so is the indentation before one when nothing else stands on its line.
#include "engine/text/template_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/text/unicode.h"
#include "engine/text/utf8.h"
#include "kernels/base/error.h"

namespace echelon::templates {

namespace {

constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "*",
                                                         "/",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

/// \r\n and \r become \n; one line break at the very end is dropped.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) read_text();
    put(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  void put(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  bool looking_at(std::string_view text) const { return std::string_view(source_).substr(at_).starts_with(text); }

  size_t space_end(size_t from) const {
    while (from < source_.size()) {
      const CodePoint point = read_code_point(source_, from);
      if (!unicode::is_python_space(point.value)) break;
      from += point.num_bytes;
    }
    return from;
  }

  size_t next_tag() const {
    for (size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return source_.size();
  }

  char sign_at(size_t place) const {
    return place < source_.size() && (source_[place] == '-' || source_[place] == '+') ? source_[place] : '\0';
  }

  /// The text before a tag, stripped as the tag's sign and kind want.
  std::string_view strip_before(std::string_view text, char sign, bool output) const {
    if (sign == '-') {
      size_t end = 0;  // after the last character that is not white space
      for (size_t i = 0; i < text.size();) {
        const CodePoint point = read_code_point(text, i);
        i += point.num_bytes;
        if (!unicode::is_python_space(point.value)) end = i;
      }
      return text.substr(0, end);
    }
    if (sign == '+' || output) return text;
    const size_t newline = text.rfind('\n');
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (begin == 0 && !line_starting_) return text;
    for (size_t i = begin; i < text.size();) {
      const CodePoint point = read_code_point(text, i);
      if (!unicode::is_python_space(point.value)) return text;
      i += point.num_bytes;
    }
    return text.substr(0, begin);
  }

  void read_text() {
    const size_t tag = next_tag();
    const std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    if (tag == source_.size()) {
      put(TokenKind::text, std::string(text));
      at_ = tag;
      return;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    const std::string_view kept = strip_before(text, sign, kind == '{');
    if (!kept.empty()) put(TokenKind::text, std::string(kept));
    advance(tag + (sign != '\0' ? 3 : 2));
    line_starting_ = false;
    if (kind == '#') return read_comment();
    if (kind == '%' && read_raw()) return;
    put(kind == '{' ? TokenKind::output_begin : TokenKind::tag_begin, "");
    while (!read_tag_end(kind)) read_inside(kind);
  }

  /// After "%}", "#}" or their signed forms at `end` (the place of the sign or of the bracket).
  void close(size_t end, bool trims) {
    const char sign = sign_at(end);
    size_t next = end + (sign != '\0' ? 3 : 2);
    if (sign == '-') {
      next = space_end(next);
    } else if (sign == '\0' && trims && next < source_.size() && source_[next] == '\n') {
      ++next;
    }
    advance(next);
    line_starting_ = source_[next - 1] == '\n';
  }

  void read_comment() {
    size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail_parse(line_, "a comment has no end");
    if (end > at_ && sign_at(end - 1) != '\0') --end;
    close(end, true);
  }

  /// {% raw %} ... {% endraw %}; false when this tag is another one.
  bool read_raw() {
    size_t place = space_end(at_);
    if (!std::string_view(source_).substr(place).starts_with("raw")) return false;
    place = space_end(place + 3);
    const std::string_view rest = std::string_view(source_).substr(place);
    if (!rest.starts_with("%}") && !rest.starts_with("-%}")) return false;
    close(place, false);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      const size_t word = space_end(tag + (sign != '\0' ? 3 : 2));
      if (!std::string_view(source_).substr(word).starts_with("endraw")) continue;
      const size_t end = space_end(word + 6);
      const size_t bracket = end + (sign_at(end) != '\0' ? 1 : 0);
      if (!std::string_view(source_).substr(bracket).starts_with("%}")) continue;
      const std::string_view text = strip_before(std::string_view(source_).substr(at_, tag - at_), sign, false);
      if (!text.empty()) put(TokenKind::text, std::string(text));
      close(end, true);
      return true;
    }
    fail_parse(line_, "a raw block has no endraw");
  }

  bool read_tag_end(char kind) {
    if (at_ >= source_.size()) fail_parse(line_, "a tag has no end");
    if (!open_.empty()) return false;
    const std::string_view bracket = kind == '{' ? "}}" : "%}";
    const char sign = kind == '{' && source_[at_] == '+' ? '\0' : sign_at(at_);
    if (!std::string_view(source_).substr(at_ + (sign != '\0' ? 1 : 0)).starts_with(bracket)) return false;
    put(kind == '{' ? TokenKind::output_end : TokenKind::tag_end, "");
    close(at_, kind == '%');
    return true;
  }

  void read_inside(char) {
    const size_t space = space_end(at_);
    if (space != at_) return advance(space);
    const char c = source_[at_];
    if (is_digit(c)) return read_number();
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      put(TokenKind::name, source_.substr(at_, end - at_));
      at_ = end;
      return;
    }
    if (c == '\'' || c == '"') return read_string(c);
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      put(TokenKind::op, std::string(op));
      balance(op);
      at_ += op.size();
      return;
    }
    fail_parse(line_,
               fmt::format("unexpected character '{}'", source_.substr(at_, read_code_point(source_, at_).num_bytes)));
  }

  void balance(std::string_view op) {
    if (op == "(") open_ += ')';
    if (op == "[") open_ += ']';
    if (op == "{") open_ += '}';
    if (op != ")" && op != "]" && op != "}") return;
    if (open_.empty() || open_.back() != op[0]) fail_parse(line_, fmt::format("unexpected '{}'", op));
    open_.pop_back();
  }

  /// 0x1f, 0o17 or 0b1, with underscores between digits.
  bool read_prefixed_integer() {
    if (source_[at_] != '0' || at_ + 1 >= source_.size()) return false;
    const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
    const std::string_view digits = letter == 'x'   ? "0123456789abcdefABCDEF"
                                    : letter == 'o' ? "01234567"
                                    : letter == 'b' ? "01"
                                                    : "";
    size_t end = at_ + 2;
    const auto is_one = [&](size_t i) {
      return i < source_.size() && digits.find(source_[i]) != std::string_view::npos;
    };
    while (is_one(end) || (end < source_.size() && source_[end] == '_' && is_one(end + 1))) ++end;
    if (end == at_ + 2) return false;
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    put(TokenKind::integer, std::move(text));
    at_ = end;
    return true;
  }

  void read_number() {
    if (read_prefixed_integer()) return;
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || (source_[end] == '_' && end + 1 < source_.size() &&
                                                                 is_digit(source_[end + 1])))) {
        ++end;
      }
    };
    digits();
    const size_t whole_end = end;
    bool real = false;
    // "a.0.1" is two subscripts, not a number with a point.
    const bool subscript = !tokens_.empty() && tokens_.back().kind == TokenKind::op && tokens_.back().text == ".";
    if (!subscript && end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (!subscript && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 1 : 0;
      if (end + 1 + sign < source_.size() && is_digit(source_[end + 1 + sign])) {
        real = true;
        end += 1 + sign;
        digits();
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    const bool zeros = text.find_first_not_of('0') == std::string::npos;
    if (!real && text.size() > 1 && text[0] == '0' && !zeros)
      fail_parse(line_, fmt::format("unexpected number {}", text));
    put(real ? TokenKind::real : TokenKind::integer, std::move(text));
    at_ = real ? end : whole_end;
  }

  void read_string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail_parse(line_, "a string has no end");
    put(TokenKind::string, unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    advance(end + 1);
  }

  /// Python's escapes; an unknown one stays as it is.
  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      constexpr std::string_view kFrom = "abfnrtv\\'\"";
      constexpr std::string_view kTo = "\a\b\f\n\r\t\v\\'\"";
      const size_t simple = kFrom.find(c);
      const size_t num_hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
      if (simple != std::string_view::npos) {
        out += kTo[simple];
      } else if (num_hex > 0) {
        char32_t value = 0;
        for (size_t k = 0; k < num_hex; ++k) {
          const char digit = i + 1 < text.size() ? text[++i] : '\0';
          const size_t nibble =
              std::string_view("0123456789abcdef").find(static_cast<char>(is_digit(digit) ? digit : digit | 0x20));
          if (nibble == std::string_view::npos) fail_parse(line_, "a string has a broken \\x or \\u escape");
          value = (value << 4) | static_cast<char32_t>(nibble);
        }
        append_utf8(out, value);
      } else if (c >= '0' && c <= '7') {
        char32_t value = static_cast<char32_t>(c - '0');
        for (int k = 0; k < 2 && i + 1 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '7'; ++k) {
          value = value * 8 + static_cast<char32_t>(text[++i] - '0');
        }
        append_utf8(out, value);
      } else if (c != '\n') {  // a line break after a backslash joins the lines
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::string open_;  ///< the closing brackets that are waited for
  std::vector<Token> tokens_;
};

}  // namespace

void fail_parse(int line, const std::string& message) {
  throw Error(Part::text, fmt::format("chat template, line {}: {}", line, message));
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace echelon::templates
