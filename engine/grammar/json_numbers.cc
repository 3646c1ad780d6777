#include "engine/grammar/json_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace echelon {
namespace {

constexpr int kMaxDigits = 16;

ExpressionId digit_in(Expressions& e, char first, char last) {
  return first > last ? e.nothing() : e.bytes(ByteSet::range(first, last));
}
ExpressionId digits(Expressions& e, int min, int max) { return e.repeat(digit_in(e, '0', '9'), min, max); }
ExpressionId zeros(Expressions& e, int min) { return e.repeat(digit_in(e, '0', '0'), min, kMaxDigits); }

/// Whole numbers without a sign, of min_digits to max_digits digits.
ExpressionId whole(Expressions& e, int min_digits, int max_digits) {
  std::vector<ExpressionId> parts;
  if (min_digits <= 1 && max_digits >= 1) parts.push_back(digit_in(e, '0', '0'));
  if (max_digits >= min_digits) {
    const int least = std::max(min_digits, 1);
    if (max_digits >= least) parts.push_back(e.sequence({digit_in(e, '1', '9'), digits(e, least - 1, max_digits - 1)}));
  }
  return e.choice(std::move(parts));
}

ExpressionId fraction(Expressions& e) { return e.sequence({e.literal("."), digits(e, 1, kMaxDigits)}); }
ExpressionId any_fraction(Expressions& e) { return e.optional(fraction(e)); }

/// Of the same length as `text`, with the first difference a digit that is greater (or smaller).
void add_first_difference(Expressions& e, const std::string& text, bool greater, std::vector<ExpressionId>& parts,
                          const auto& behind) {
  for (size_t i = 0; i < text.size(); ++i) {
    const char least = greater ? static_cast<char>(text[i] + 1) : '0';
    const char most = greater ? '9' : static_cast<char>(text[i] - 1);
    parts.push_back(e.sequence({e.literal(text.substr(0, i)), digit_in(e, least, most), behind(text.size() - i - 1)}));
  }
}

/// Numbers without a sign that are at least (or at most) the bound, whose value is not negative.
ExpressionId beside(Expressions& e, const NumberBound& bound, bool greater) {
  const Decimal& value = bound.value;
  const int length = static_cast<int>(value.whole.size());
  std::vector<ExpressionId> parts, behind_point;
  if (greater) {
    parts.push_back(e.sequence({whole(e, length + 1, std::max(kMaxDigits, length + 1)), any_fraction(e)}));
  } else if (length > 1) {
    parts.push_back(e.sequence({whole(e, 1, length - 1), any_fraction(e)}));
  }
  add_first_difference(e, value.whole, greater, parts, [&](size_t left) {
    return e.sequence({digits(e, static_cast<int>(left), static_cast<int>(left)), any_fraction(e)});
  });
  // The same before the point: all is decided behind it.
  add_first_difference(e, value.fraction, greater, behind_point, [&](size_t) { return digits(e, 0, kMaxDigits); });
  const ExpressionId same = e.literal(value.fraction), point = e.literal(".");
  const bool has_fraction = !value.fraction.empty();
  if (greater) {
    behind_point.push_back(
        e.sequence({same, bound.exclusive ? e.sequence({zeros(e, 0), digit_in(e, '1', '9'), digits(e, 0, kMaxDigits)})
                                          : digits(e, has_fraction ? 0 : 1, kMaxDigits)}));
  } else {
    for (size_t i = 1; i < value.fraction.size(); ++i) behind_point.push_back(e.literal(value.fraction.substr(0, i)));
    if (!bound.exclusive) behind_point.push_back(e.sequence({same, zeros(e, has_fraction ? 0 : 1)}));
  }
  ExpressionId tail = e.sequence({point, e.choice(std::move(behind_point))});
  if (greater ? !has_fraction && !bound.exclusive : has_fraction || !bound.exclusive) tail = e.optional(tail);
  parts.push_back(e.sequence({e.literal(value.whole), tail}));
  return e.choice(std::move(parts));
}

/// Numbers without a sign that multiple_of divides.
ExpressionId multiples(Expressions& e, const Decimal& divisor, bool integer) {
  const auto is_power_of_ten = [](const std::string& digits) {
    return digits[0] == '1' && digits.find_first_not_of('0', 1) == std::string::npos;
  };
  if (divisor.whole == "0" && divisor.fraction.find_first_not_of('0') == divisor.fraction.size() - 1 &&
      divisor.fraction.back() == '1') {
    const int places = static_cast<int>(divisor.fraction.size());
    return e.sequence({whole(e, 1, kMaxDigits),
                       integer ? e.empty() : e.optional(e.sequence({e.literal("."), digits(e, 1, places)}))});
  }
  const bool is_whole = divisor.fraction.empty() && divisor.whole.size() < 17;
  const int64_t value = is_whole ? std::stoll(divisor.whole) : 0;
  if (value <= 0 || (!is_power_of_ten(divisor.whole) && 1000 % value != 0))
    throw GrammarError("multipleOf is supported for powers of ten and divisors of 1000");
  int places = 0;  // the last digits say it all
  int64_t power = 1;
  for (; power % value != 0; power *= 10) ++places;
  std::vector<ExpressionId> endings, small;
  if (is_power_of_ten(divisor.whole)) {
    endings.push_back(e.literal(std::string(static_cast<size_t>(places), '0')));
    small.push_back(e.literal("0"));
  } else {
    for (int64_t ending = 0; ending < power; ending += value) {
      endings.push_back(e.literal(fmt::format("{:0{}}", ending, places)));
      small.push_back(e.literal(fmt::format("{}", ending)));
    }
  }
  const ExpressionId ending = places == 0 ? e.empty() : e.choice(std::move(endings));
  if (places == 0) return whole(e, 1, kMaxDigits);
  return e.choice({e.choice(std::move(small)), e.sequence({digit_in(e, '1', '9'), digits(e, 0, kMaxDigits), ending})});
}

}  // namespace

Decimal decimal_of(const boost::json::value& number) {
  std::string text;
  if (number.is_int64()) {
    text = fmt::format("{}", number.get_int64());
  } else if (number.is_uint64()) {
    text = fmt::format("{}", number.get_uint64());
  } else if (number.is_double() && std::isfinite(number.get_double())) {
    text = fmt::format("{}", number.get_double());
  } else {
    throw GrammarError("schema: a bound is not a number");
  }
  Decimal decimal;
  decimal.negative = text.starts_with('-');
  if (decimal.negative) text.erase(0, 1);
  int exponent = 0;
  if (const size_t e = text.find('e'); e != std::string::npos) {
    exponent = std::stoi(text.substr(e + 1));
    text.resize(e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string all = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
  int64_t place = static_cast<int64_t>(point) + exponent;  // of the point in `all`
  if (place > 64 || place < -64) throw GrammarError("schema: a bound is too large or too small");
  if (place < 1) all.insert(0, static_cast<size_t>(1 - place), '0'), place = 1;
  if (place > static_cast<int64_t>(all.size())) all.append(static_cast<size_t>(place) - all.size(), '0');
  decimal.whole = all.substr(0, static_cast<size_t>(place));
  decimal.fraction = all.substr(static_cast<size_t>(place));
  decimal.whole.erase(0, std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size() - 1));
  decimal.fraction.resize(decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.is_zero()) decimal.negative = false;
  return decimal;
}

std::string text_of(const Decimal& decimal) {
  return fmt::format("{}{}{}{}", decimal.negative ? "-" : "", decimal.whole, decimal.fraction.empty() ? "" : ".",
                     decimal.fraction);
}

void tighten(std::optional<NumberBound>& bound, const NumberBound& other, bool is_least) {
  const int order = bound ? compare(other.value, bound->value) : 0;
  if (!bound || (is_least ? order > 0 : order < 0)) {
    bound = other;
  } else if (order == 0) {
    bound->exclusive |= other.exclusive;
  }
}

bool contains(const NumberRange& range, const Decimal& value) {
  if (range.integer && !value.fraction.empty()) return false;
  const auto is_beyond = [&](const std::optional<NumberBound>& bound, int direction) {
    if (!bound) return false;
    const int order = compare(value, bound->value) * direction;
    return order > 0 || (order == 0 && bound->exclusive);
  };
  return !is_beyond(range.least, -1) && !is_beyond(range.greatest, 1);
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int sign = a.negative ? -1 : 1;
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -sign : sign;
  if (const int order = a.whole.compare(b.whole); order != 0) return order < 0 ? -sign : sign;
  const int order = a.fraction.compare(b.fraction);
  return order == 0 ? 0 : order < 0 ? -sign : sign;
}

ExpressionId number_in(Expressions& e, const NumberRange& range) {
  const ExpressionId plain =
      range.integer ? whole(e, 1, kMaxDigits) : e.sequence({whole(e, 1, kMaxDigits), any_fraction(e)});
  if (!range.least && !range.greatest && !range.multiple_of) {
    const ExpressionId sign = e.optional(e.literal("-"));
    if (range.integer) return e.sequence({sign, plain});
    ByteSet exponent, signs;
    for (const char c : {'e', 'E'}) exponent.insert(static_cast<uint8_t>(c));
    for (const char c : {'+', '-'}) signs.insert(static_cast<uint8_t>(c));
    return e.sequence(
        {sign, plain, e.optional(e.sequence({e.bytes(exponent), e.optional(e.bytes(signs)), digits(e, 1, 2)}))});
  }
  const ExpressionId all =
      range.multiple_of ? e.intersection(plain, multiples(e, *range.multiple_of, range.integer)) : plain;
  const auto& least = range.least;
  const auto& greatest = range.greatest;
  const auto mirrored = [](NumberBound bound) {
    bound.value.negative = false;
    return bound;
  };
  std::vector<ExpressionId> parts;
  if (!greatest || !greatest->value.negative) {  // numbers without a sign
    ExpressionId part = all;
    if (least && !least->value.negative) part = e.intersection(part, beside(e, *least, true));
    if (greatest) part = e.intersection(part, beside(e, *greatest, false));
    parts.push_back(part);
  }
  if (!least || least->value.negative) {
    ExpressionId part = all;
    if (least) part = e.intersection(part, beside(e, mirrored(*least), false));
    // -0 is 0, which a bound may leave out.
    const NumberBound zero{.value = {}, .exclusive = true};
    const bool is_below_zero = greatest && (greatest->value.negative || greatest->value.is_zero());
    if (is_below_zero)
      part = e.intersection(part, beside(e, greatest->value.is_zero() ? zero : mirrored(*greatest), true));
    parts.push_back(e.sequence({e.literal("-"), part}));
  }
  return e.choice(std::move(parts));
}

}  // namespace echelon
