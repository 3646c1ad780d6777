// Parsing of single values; every path is checked for overflow before it multiplies.
#include "launch/option_values.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

namespace echelon {
namespace {

constexpr size_t kMaxNameLength = 128;  // longer texts are nobody's typo, and the edit distance is quadratic

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string clip(std::string_view text) {
  constexpr size_t kShown = 64;
  return text.size() <= kShown ? std::string(text) : std::string(text.substr(0, kShown)) + "...";
}

[[noreturn]] void out_of_range(std::string_view text, Range range) {
  throw BadValue(fmt::format("'{}' is out of range: {} to {}", clip(text), range.first, range.last));
}

/// The power of a suffix letter: K 1, M 2, G 3, T 4; 0 for any other.
int suffix_power(char letter) {
  const size_t found =
      std::string_view("kmgt").find(static_cast<char>(std::tolower(static_cast<unsigned char>(letter))));
  return found == std::string_view::npos ? 0 : static_cast<int>(found) + 1;
}

/// digits[.digits] * base^power, exactly; false when it is no such number, not whole, or beyond int64.
bool scale(std::string_view number, int64_t base, int power, bool fraction_allowed, int64_t& out, bool& too_large) {
  int64_t multiplier = 1;
  for (int i = 0; i < power; ++i) multiplier *= base;
  const size_t dot = number.find('.');
  const std::string_view whole = number.substr(0, dot);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), value);
  too_large = error == std::errc::result_out_of_range;
  if (error != std::errc() || end != whole.data() + whole.size()) return false;
  if (__builtin_mul_overflow(value, multiplier, &value)) {
    too_large = true;
    return false;
  }
  if (dot != std::string_view::npos) {
    const std::string_view decimals = number.substr(dot + 1);
    if (!fraction_allowed || decimals.empty() || value < 0) return false;
    for (const char c : decimals) {
      if (c < '0' || c > '9') return false;
      if (multiplier % 10 != 0) return false;
      multiplier /= 10;
      if (__builtin_add_overflow(value, (c - '0') * multiplier, &value)) {
        too_large = true;
        return false;
      }
    }
  }
  out = value;
  return true;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

int64_t parse_integer(std::string_view text, Range range, bool suffixes) {
  std::string_view number = text;
  int64_t base = 1;
  int power = 0;
  bool decimal = false;
  if (suffixes && !number.empty() && suffix_power(number.back()) > 0) {
    power = suffix_power(number.back());
    decimal = std::islower(static_cast<unsigned char>(number.back())) != 0;
    base = decimal ? 1000 : 1024;
    number.remove_suffix(1);
  }
  int64_t value = 0;
  bool too_large = false;
  if (!scale(number, base, power, decimal, value, too_large)) {
    if (too_large) out_of_range(text, range);
    throw BadValue(fmt::format("'{}' is not a whole number{} ({} to {})", clip(text),
                               suffixes ? ", nor one with K, M, G (1024) or k, m, g (1000)" : "", range.first,
                               range.last));
  }
  if (value < range.first || value > range.last) out_of_range(text, range);
  return value;
}

int64_t parse_bytes(std::string_view text, Range range) {
  std::string_view number = text;
  for (const std::string_view unit : {"iB", "B"}) {
    const size_t size = unit.size();
    if (number.size() > size && number.ends_with(unit) &&
        std::isupper(static_cast<unsigned char>(number[number.size() - size - 1])) &&
        suffix_power(number[number.size() - size - 1]) > 0) {
      number.remove_suffix(size);
      break;
    }
  }
  try {
    return parse_integer(number, range, true);
  } catch (const BadValue&) {
    throw BadValue(fmt::format("'{}' is not a size in bytes, {} to {}: write 512M, 2G or 2GiB", clip(text), range.first,
                               range.last));
  }
}

double parse_decimal(std::string_view text, double most) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= most) return value;
  throw BadValue(fmt::format("'{}' is not a number, 0 to {}", clip(text), most));
}

bool parse_boolean(std::string_view text) {
  const std::string word = lower(text);
  if (word == "true" || word == "yes" || word == "on" || word == "1") return true;
  if (word == "false" || word == "no" || word == "off" || word == "0") return false;
  throw BadValue(fmt::format("'{}' is neither true nor false", clip(text)));
}

std::vector<int> parse_integer_list(std::span<const std::string> texts, Range each, size_t max_items) {
  std::vector<int> out;
  for (const std::string& text : texts) {
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      if (out.size() == max_items) throw BadValue(fmt::format("more than {} numbers", max_items));
      out.push_back(static_cast<int>(parse_integer(std::string_view(text).substr(begin, end - begin), each, false)));
      begin = end + 1;
    }
  }
  return out;
}

size_t parse_choice(std::string_view text, std::span<const std::string_view> names) {
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) throw BadValue(fmt::format("'{}' is none of {}", clip(text), fmt::join(names, ", ")));
  return static_cast<size_t>(found - names.begin());
}

std::string nearest_name(std::string_view text, const std::vector<std::string>& names) {
  if (text.size() > kMaxNameLength) return "";
  std::string best;
  size_t best_distance = std::numeric_limits<size_t>::max();
  for (const std::string& name : names) {
    const size_t distance = edit_distance(text, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best_distance <= std::max<size_t>(2, best.size() / 3) && best_distance < text.size() ? best : "";
}

}  // namespace echelon
