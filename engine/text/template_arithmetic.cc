// Arithmetic of values, as Python's operators: / gives a float, // and % round to minus infinity; integers beyond 64
// bits are an error. Texts and lists are joined and repeated.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_strings.h"

namespace echelon::templates {

namespace {

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0 && base != 1 && base != 0 && base != -1; --exponent) {
    if (__builtin_mul_overflow(result, base, &result)) fail("integer result too large");
  }
  if (exponent == 0 || base == 1) return result;
  return base == 0 ? 0 : (exponent % 2 == 0 ? 1 : -1);
}

Value integer_arithmetic(std::string_view op, int64_t left, int64_t right) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(left, right, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(left, right, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(left, right, &result);
  } else if (op == "**") {
    if (right < 0 && left == 0) fail("0.0 cannot be raised to a negative power");
    if (right < 0) return std::pow(static_cast<double>(left), static_cast<double>(right));
    result = power(left, right);
  } else {
    if (right == 0) fail("division by zero");
    if (op == "/") return static_cast<double>(left) / static_cast<double>(right);
    if (right == -1) {  // the one quotient that may overflow
      overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, left, &result);
      if (op == "%") result = 0;
    } else {
      const int64_t quotient = left / right;
      const int64_t rest = left % right;
      const bool lower = rest != 0 && (rest < 0) != (right < 0);
      result = op == "//" ? quotient - (lower ? 1 : 0) : rest + (lower ? right : 0);
    }
  }
  if (overflow) fail("integer result too large");
  return result;
}

Value real_arithmetic(std::string_view op, double left, double right) {
  if (op == "+") return left + right;
  if (op == "-") return left - right;
  if (op == "*") return left * right;
  if (op == "**") {
    if (left == 0 && right < 0) fail("0.0 cannot be raised to a negative power");
    if (left < 0 && std::isfinite(left) && std::isfinite(right) && right != std::floor(right))
      fail("complex numbers are not supported");
    const double result = std::pow(left, right);
    if (std::isinf(result) && std::isfinite(left) && std::isfinite(right)) fail("Result too large");
    return result;
  }
  if (right == 0) fail("float division by zero");
  if (op == "/") return left / right;
  double rest = std::fmod(left, right);
  double quotient = (left - rest) / right;
  if (rest != 0 && (rest < 0) != (right < 0)) {
    rest += right;
    quotient -= 1;
  } else if (rest == 0) {
    rest = std::copysign(0.0, right);
  }
  if (op == "%") return rest;
  if (quotient == 0) return std::copysign(0.0, left / right);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

/// A text or a list, times a number.
Value repeat(const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (const std::string* text = value.string()) {
    const bool fits = text->empty() || static_cast<uint64_t>(count) <= kMaxTextBytes / text->size();
    check_text_size(fits ? 0 : kMaxTextBytes + 1);
    std::string out;
    if (!text->empty()) out.reserve(text->size() * static_cast<size_t>(count));
    for (int64_t i = 0; i < count && !text->empty(); ++i) out += *text;
    return make_text(std::move(out), value.is_markup());
  }
  const auto& items = value.list()->items;
  if (!items.empty() && static_cast<uint64_t>(count) > kMaxListItems / items.size()) {
    fail(fmt::format("a list is longer than {} items", kMaxListItems));
  }
  std::vector<Value> out;
  for (int64_t i = 0; i < count && !items.empty(); ++i) out.insert(out.end(), items.begin(), items.end());
  return make_list(std::move(out), value.list()->kind);
}

/// What + and * join: not ranges.
bool is_joinable(const Value& value) {
  return (value.string() || (value.list() && value.list()->is_sequence())) &&
         !(value.list() && value.list()->kind == ListKind::range);
}

/// left + right of two texts: where one is markup, the other is escaped.
Value add_texts(const Value& left, const Value& right) {
  check_text_size(left.string()->size() + right.string()->size());
  const bool markup = left.is_markup() || right.is_markup();
  const auto part = [&](const Value& value) {
    return markup && !value.is_markup() ? escape_html(*value.string()) : *value.string();
  };
  return make_text(part(left) + part(right), markup);
}

}  // namespace

void fail_operands(std::string_view op, const Value& left, const Value& right) {
  for (const Value* operand : {&left, &right}) {
    if (const Undefined* undefined = operand->get<Undefined>()) fail(*undefined->message);
  }
  fail(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(left), type_name(right)));
}

Value negated(const Value& value) {
  if (const double* real = value.get<double>()) return -*real;
  if (!value.is_number()) fail_operands("unary -", value, value);
  return integer_arithmetic("-", 0, as_int(value, "an operand"));
}

Value Evaluator::arithmetic(std::string_view op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.get<double>() || right.get<double>()) return real_arithmetic(op, as_double(left), as_double(right));
    return integer_arithmetic(op, as_int(left, "an operand"), as_int(right, "an operand"));
  }
  Value result;
  if (op == "%" && left.string()) {
    return make_text(format_printf(left, right), left.is_markup());
  } else if (op == "+" && left.string() && right.string()) {
    result = add_texts(left, right);
  } else if (op == "+" && left.list() && right.list() && left.list()->kind == right.list()->kind && is_joinable(left)) {
    const auto& added = right.list()->items;
    charge(left.list()->items.size() + added.size());
    std::vector<Value> items;
    items.reserve(left.list()->items.size() + added.size());
    items = left.list()->items;
    items.insert(items.end(), added.begin(), added.end());
    return make_list(std::move(items), left.list()->kind);
  } else if (op == "*" && is_joinable(left) && right.is_number() && !right.get<double>()) {
    result = repeat(left, as_int(right, "a count"));
  } else if (op == "*" && is_joinable(right) && left.is_number() && !left.get<double>()) {
    result = repeat(right, as_int(left, "a count"));
  } else {
    fail_operands(op, left, right);
  }
  if (const std::string* text = result.string()) meter_.charge_text(text->size());
  if (const ListData* list = result.list()) charge(list->items.size());
  return result;
}

}  // namespace echelon::templates
