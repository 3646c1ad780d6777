// Classes and letter case of code points, by binary search in the generated tables.
#include "engine/text/unicode.h"

#include <algorithm>
#include <vector>

#include "engine/text/unicode_tables.h"
#include "engine/text/utf8.h"

namespace echelon::unicode {

namespace {

/// The row whose [first, last] holds the point, or nullptr.
template <typename Row>
const Row* find_range(std::span<const Row> rows, char32_t point) {
  const auto after = std::upper_bound(rows.begin(), rows.end(), point,
                                      [](char32_t value, const Row& row) { return value < row.first; });
  if (after == rows.begin()) return nullptr;
  const Row& row = *(after - 1);
  return point <= row.last ? &row : nullptr;
}

void append_mapped(std::string& out, char32_t point, std::span<const CaseRun> runs,
                   std::span<const CaseSpecial> specials) {
  const auto special = std::lower_bound(specials.begin(), specials.end(), point,
                                        [](const CaseSpecial& row, char32_t value) { return row.from < value; });
  if (special != specials.end() && special->from == point) {
    for (const char32_t part : special->to) {
      if (part != 0) append_utf8(out, part);
    }
    return;
  }
  if (const CaseRun* run = find_range(runs, point);
      run && (point - run->first) % static_cast<char32_t>(run->step) == 0) {
    point = static_cast<char32_t>(static_cast<int32_t>(point) + run->delta);
  }
  append_utf8(out, point);
}

constexpr char32_t kCapitalSigma = 0x3a3, kSmallSigma = 0x3c3, kFinalSigma = 0x3c2;

/// A sigma ends a word when a cased letter stands before it and none after it.
bool is_final_sigma(std::string_view text, size_t at, bool cased_before) {
  const size_t next = at + 2;
  return cased_before && (next >= text.size() || !has_case(read_code_point(text, next).value));
}

}  // namespace

bool has_case(char32_t point) {
  if (point < 0x80) return (point | 0x20) >= 'a' && (point | 0x20) <= 'z';
  std::string lower, upper;
  append_mapped(lower, point, kLower, kLowerSpecial);
  append_mapped(upper, point, kUpper, kUpperSpecial);
  return lower != upper;
}

bool is_letter(char32_t point) {
  if (point < 0x80) return (point | 0x20) >= 'a' && (point | 0x20) <= 'z';
  return find_range(kLetters, point) != nullptr;
}

bool is_number(char32_t point) {
  if (point < 0x80) return point >= '0' && point <= '9';
  return find_range(kNumbers, point) != nullptr;
}

bool is_space(char32_t point) {
  if (point < 0x80) return point == ' ' || (point >= 9 && point <= 13);
  return point == 0x85 || point == 0xa0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200a) || point == 0x2028 ||
         point == 0x2029 || point == 0x202f || point == 0x205f || point == 0x3000;
}

namespace {

Class find_class(char32_t point) {
  if (is_letter(point)) return Class::letter;
  if (is_number(point)) return Class::number;
  return is_space(point) ? Class::space : Class::other;
}

/// Of the points of the first two planes, where nearly all text lies.
std::vector<Class> make_classes() {
  std::vector<Class> classes(0x20000);
  for (char32_t point = 0; point < classes.size(); ++point) classes[point] = find_class(point);
  return classes;
}

}  // namespace

bool is_python_space(char32_t point) { return is_space(point) || (point >= 0x1c && point <= 0x1f); }

Class class_of(char32_t point) {
  static const std::vector<Class> kClasses = make_classes();
  return point < kClasses.size() ? kClasses[point] : find_class(point);
}

bool is_printable(char32_t point) { return find_range(kNotPrintable, point) == nullptr; }

bool is_decimal(char32_t point) { return find_range(kDecimals, point) != nullptr; }
bool is_digit(char32_t point) { return find_range(kDigits, point) != nullptr; }
bool is_numeric(char32_t point) { return find_range(kNumerics, point) != nullptr; }

void append_title(std::string& out, char32_t point) {
  const auto special = std::lower_bound(kTitleSpecial.begin(), kTitleSpecial.end(), point,
                                        [](const CaseSpecial& row, char32_t value) { return row.from < value; });
  const bool own = special != kTitleSpecial.end() && special->from == point;
  append_mapped(out, point, own ? std::span<const CaseRun>() : kUpper, own ? kTitleSpecial : kUpperSpecial);
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    append_mapped(out, point.value, kUpper, kUpperSpecial);
    at += point.num_bytes;
  }
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool cased_before = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    if (point.value == kCapitalSigma) {
      append_utf8(out, is_final_sigma(text, at, cased_before) ? kFinalSigma : kSmallSigma);
    } else {
      append_mapped(out, point.value, kLower, kLowerSpecial);
    }
    cased_before = has_case(point.value);
    at += point.num_bytes;
  }
  return out;
}

}  // namespace echelon::unicode
