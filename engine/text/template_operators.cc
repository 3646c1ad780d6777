// Evaluating expressions: names, members, operators, slices, calls.
// Arithmetic is Python's: / gives a float, // and % round to minus infinity; integers beyond 64 bits are an error.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/text/template_evaluator.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

[[noreturn]] void fail_operands(std::string_view op, const Value& left, const Value& right) {
  for (const Value* operand : {&left, &right}) {
    if (const Undefined* undefined = operand->get<Undefined>()) fail(*undefined->message);
  }
  fail(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(left), type_name(right)));
}

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
  if (op == "**") return std::pow(left, right);
  if (right == 0) fail("float division by zero");
  if (op == "/") return left / right;
  const double rest = std::fmod(left, right);
  const bool lower = rest != 0 && (rest < 0) != (right < 0);
  if (op == "%") return lower ? rest + right : rest;
  return std::floor((left - (lower ? rest + right : rest)) / right + 0.5);
}

/// A text or a list, times a number.
Value repeat(const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  if (const std::string* text = value.string()) {
    if (!text->empty() && static_cast<uint64_t>(count) > kMaxTextBytes / text->size()) {
      fail(fmt::format("a text is longer than {} bytes", kMaxTextBytes));
    }
    std::string out;
    for (int64_t i = 0; i < count && !text->empty(); ++i) out += *text;
    return out;
  }
  const auto& items = value.list()->items;
  if (!items.empty() && static_cast<uint64_t>(count) > static_cast<uint64_t>(kMaxRange) / items.size()) {
    fail(fmt::format("a list is longer than {} items", kMaxRange));
  }
  std::vector<Value> out;
  for (int64_t i = 0; i < count && !items.empty(); ++i) out.insert(out.end(), items.begin(), items.end());
  return make_list(std::move(out), value.list()->kind);
}

bool is_sequence(const Value& value) {
  return value.string() || (value.list() && value.list()->kind != ListKind::generator);
}

/// Python's slice.indices().
std::array<int64_t, 3> slice_range(int64_t length, const Value& begin, const Value& end, const Value& step_value) {
  const int64_t step = step_value.is_none() ? 1 : as_int(step_value, "a slice's step");
  if (step == 0) fail("slice step cannot be zero");
  const int64_t low = step < 0 ? -1 : 0;
  const int64_t high = step < 0 ? length - 1 : length;
  const auto place = [&](const Value& value, int64_t absent) {
    if (value.is_none()) return absent;
    int64_t index = as_int(value, "a slice's bound");
    if (index < 0) index = index < -length ? low : index + length;
    return std::clamp(index, low, high);
  };
  return {place(begin, step < 0 ? high : low), place(end, step < 0 ? low : high), step};
}

Value undefined_member(const Value& object, const std::string& name) {
  return Undefined{
      std::make_shared<const std::string>(fmt::format("'{} object' has no attribute '{}'", type_name(object), name))};
}

}  // namespace

Value arithmetic(std::string_view op, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (left.get<double>() || right.get<double>()) return real_arithmetic(op, as_double(left), as_double(right));
    return integer_arithmetic(op, as_int(left, "an operand"), as_int(right, "an operand"));
  }
  if (op == "+" && left.string() && right.string()) {
    if (left.string()->size() + right.string()->size() > kMaxTextBytes) {
      fail(fmt::format("a text is longer than {} bytes", kMaxTextBytes));
    }
    return *left.string() + *right.string();
  }
  if (op == "+" && left.list() && right.list() && left.list()->kind == right.list()->kind) {
    std::vector<Value> items = left.list()->items;
    items.insert(items.end(), right.list()->items.begin(), right.list()->items.end());
    return make_list(std::move(items), left.list()->kind);
  }
  if (op == "*" && is_sequence(left) && right.is_number() && !right.get<double>())
    return repeat(left, as_int(right, "a count"));
  if (op == "*" && is_sequence(right) && left.is_number() && !left.get<double>())
    return repeat(right, as_int(left, "a count"));
  fail_operands(op, left, right);
}

Value Evaluator::evaluate_node(const Expr& expr) {
  const auto child = [&](size_t i) { return evaluate(*expr.children[i]); };
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.value;
    case ExprKind::name:
      return look_up(expr.name);
    case ExprKind::list:
    case ExprKind::tuple: {
      std::vector<Value> items;
      for (size_t i = 0; i < expr.children.size(); ++i) items.push_back(child(i));
      return make_list(std::move(items), expr.kind == ExprKind::list ? ListKind::list : ListKind::tuple);
    }
    case ExprKind::dict: {
      std::vector<std::pair<Value, Value>> items;
      for (size_t i = 0; i < expr.children.size(); i += 2) {
        Value key = child(i);
        if (key.list() || key.dict() || key.is_undefined()) fail(fmt::format("unhashable type: '{}'", type_name(key)));
        items.emplace_back(std::move(key), child(i + 1));
      }
      return make_dict(std::move(items));
    }
    case ExprKind::attribute:
      return attribute(child(0), expr.name);
    case ExprKind::item: {
      const Value object = child(0);
      return item(object, child(1));
    }
    case ExprKind::slice:
      return evaluate_slice(expr);
    case ExprKind::call: {
      const Value callee = child(0);
      return call(callee, evaluate_arguments(expr.arguments));
    }
    case ExprKind::filter:
      return evaluate_filter(expr, Value());
    case ExprKind::test: {
      const Value input = child(0);
      return apply_test(expr.name, input, evaluate_arguments(expr.arguments));
    }
    case ExprKind::negate:
      return arithmetic("-", Value(int64_t{0}), child(0));
    case ExprKind::plus:
      return arithmetic("+", Value(int64_t{0}), child(0));
    case ExprKind::logical_not:
      return !truthy(child(0));
    case ExprKind::logical_and: {
      Value left = child(0);
      return truthy(left) ? child(1) : left;
    }
    case ExprKind::logical_or: {
      Value left = child(0);
      return truthy(left) ? left : child(1);
    }
    case ExprKind::binary:
      return evaluate_binary(expr);
    case ExprKind::concat: {
      std::string text;
      for (size_t i = 0; i < expr.children.size(); ++i) {
        text += to_text(child(i));
        if (text.size() > kMaxTextBytes) break;
      }
      return charged(std::move(text));
    }
    case ExprKind::compare:
      return evaluate_compare(expr);
    case ExprKind::condition:
      if (truthy(child(0))) return child(1);
      if (expr.children[2]) return child(2);
      return Undefined{
          std::make_shared<const std::string>("the inline if-expression evaluated to false and no else was defined")};
  }
  return Value();
}

Value Evaluator::evaluate_binary(const Expr& expr) {
  const Value left = evaluate(*expr.children[0]);
  const Value right = evaluate(*expr.children[1]);
  Value result = arithmetic(expr.name, left, right);
  if (const std::string* text = result.string()) charge(text->size() / kCharsPerStep);
  if (const ListData* list = result.list()) charge(list->items.size());
  return result;
}

Value Evaluator::evaluate_compare(const Expr& expr) {
  Value left = evaluate(*expr.children[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1]);
    const std::string& op = expr.ops[i];
    if (op == "in" || op == "not in") {
      if (const ListData* list = right.list()) charge(list->items.size());
      if (const std::string* text = right.string()) charge(text->size() / kCharsPerStep);
    }
    bool holds = false;
    if (op == "==") {
      holds = equal(left, right);
    } else if (op == "!=") {
      holds = !equal(left, right);
    } else if (op == "in") {
      holds = contains(right, left);
    } else if (op == "not in") {
      holds = !contains(right, left);
    } else {
      if (left.is_undefined() || right.is_undefined()) fail_operands(op, left, right);
      const int order = compare(left, right);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Evaluator::evaluate_slice(const Expr& expr) {
  const Value object = evaluate(*expr.children[0]);
  std::array<Value, 3> bounds;
  for (size_t i = 0; i < 3; ++i) {
    if (expr.children[i + 1]) bounds[i] = evaluate(*expr.children[i + 1]);
  }
  if (const Undefined* undefined = object.get<Undefined>()) fail(*undefined->message);
  if (!is_sequence(object)) return undefined_member(object, "slice");
  const std::string* text = object.string();
  const std::vector<size_t> offsets = text ? code_point_offsets(*text) : std::vector<size_t>();
  const int64_t length =
      text ? static_cast<int64_t>(offsets.size()) - 1 : static_cast<int64_t>(object.list()->items.size());
  const auto [begin, end, step] = slice_range(length, bounds[0], bounds[1], bounds[2]);
  charge(static_cast<size_t>(length) / (text ? kCharsPerStep : 1) + 1);
  std::string characters;
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    const auto place = static_cast<size_t>(i);
    if (text) {
      characters.append(*text, offsets[place], offsets[place + 1] - offsets[place]);
    } else {
      items.push_back(object.list()->items[place]);
    }
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (text) return Value(std::move(characters));
  return make_list(std::move(items), object.list()->kind);
}

Value Evaluator::attribute(const Value& object, std::string_view name) {
  if (const Undefined* undefined = object.get<Undefined>()) fail(*undefined->message);
  if (const auto* loop = object.get<std::shared_ptr<const LoopState>>()) return loop_attribute(**loop, name);
  if (const auto* names = object.get<Namespace*>()) {
    for (const auto& [known, value] : (*names)->attributes) {
      if (known == name) return value;
    }
    return undefined_member(object, std::string(name));
  }
  if (has_method(object, name)) return BoundMethod{std::make_shared<const Value>(object), std::string(name)};
  if (const DictData* dict = object.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  }
  return undefined_member(object, std::string(name));
}

Value Evaluator::item(const Value& object, const Value& key) {
  if (const Undefined* undefined = object.get<Undefined>()) fail(*undefined->message);
  if (const DictData* dict = object.dict()) {
    if (dict->index.empty() || !key.string()) charge(dict->items.size());
    if (const Value* found = dict->find(key)) return *found;
  } else if (key.get<int64_t>() || key.get<bool>()) {
    int64_t index = as_int(key, "an index");
    if (const std::string* text = object.string()) {
      const auto offsets = code_point_offsets(*text);
      charge(1 + text->size() / kCharsPerStep);
      const auto length = static_cast<int64_t>(offsets.size()) - 1;
      if (index < 0) index += length;
      if (index >= 0 && index < length) {
        const auto place = static_cast<size_t>(index);
        return text->substr(offsets[place], offsets[place + 1] - offsets[place]);
      }
    } else if (const ListData* list = object.list()) {
      const auto length = static_cast<int64_t>(list->items.size());
      if (index < 0) index += length;
      if (index >= 0 && index < length) return list->items[static_cast<size_t>(index)];
    }
  }
  if (const std::string* name = key.string()) return attribute(object, *name);
  return undefined_member(object, to_text(key));
}

Value Evaluator::evaluate_filter(const Expr& expr, const Value& input) {
  const Value inner = expr.children[0] == nullptr                  ? input
                      : expr.children[0]->kind == ExprKind::filter ? evaluate_filter(*expr.children[0], input)
                                                                   : evaluate(*expr.children[0]);
  if (const std::string* text = inner.string()) charge(text->size() / kCharsPerStep);
  if (const ListData* list = inner.list()) charge(list->items.size());
  return apply_filter(expr.name, inner, evaluate_arguments(expr.arguments));
}

Arguments Evaluator::evaluate_arguments(const std::vector<Argument>& arguments) {
  Arguments evaluated;
  for (const Argument& argument : arguments) {
    Value value = evaluate(*argument.value);
    if (argument.keyword.empty()) {
      evaluated.positional.push_back(std::move(value));
    } else {
      evaluated.named.emplace_back(argument.keyword, std::move(value));
    }
  }
  return evaluated;
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (const Undefined* undefined = callee.get<Undefined>()) fail(*undefined->message);
  if (const auto* macro = callee.get<const MacroNode*>()) return call_macro(**macro, arguments);
  if (const auto* builtin = callee.get<Builtin>()) return call_builtin(*builtin, arguments);
  if (const auto* method = callee.get<BoundMethod>()) return call_method(*method->object, method->name, arguments);
  fail(fmt::format("'{}' object is not callable", type_name(callee)));
}

}  // namespace echelon::templates
