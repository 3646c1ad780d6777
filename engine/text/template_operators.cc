// Evaluating expressions: names, members, operators, slices, calls.
// Arithmetic: template_arithmetic.cc.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_strings.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

bool is_sequence(const Value& value) { return value.string() || (value.list() && value.list()->is_sequence()); }

/// A place in a list or text of this length, negative ones from its end; nullopt outside.
std::optional<size_t> place_of(int64_t index, size_t length) {
  if (index < 0) index += static_cast<int64_t>(length);
  if (index < 0 || index >= static_cast<int64_t>(length)) return std::nullopt;
  return static_cast<size_t>(index);
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

Value undefined_member(const Value& object, std::string_view name) {
  constexpr size_t kMaxNameShown = 100;
  return make_undefined(
      fmt::format("'{} object' has no attribute '{}'", type_name(object), name.substr(0, kMaxNameShown)));
}

}  // namespace

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
      return negated(child(0));
    case ExprKind::plus:
      return negated(negated(child(0)));
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
        text += text_of(child(i));
        check_text_size(text.size());
      }
      return charged(std::move(text));
    }
    case ExprKind::compare:
      return evaluate_compare(expr);
    case ExprKind::condition:
      if (truthy(child(0))) return child(1);
      if (expr.children[2]) return child(2);
      return make_undefined("the inline if-expression evaluated to false and no else was defined");
  }
  return Value();
}

Value Evaluator::evaluate_binary(const Expr& expr) {
  const Value left = evaluate(*expr.children[0]);
  const Value right = evaluate(*expr.children[1]);
  return arithmetic(expr.name, left, right);
}

Value Evaluator::evaluate_compare(const Expr& expr) {
  Value left = evaluate(*expr.children[0]);
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1]);
    const std::string& op = expr.ops[i];
    bool holds = false;
    if (op == "==") {
      holds = equal(meter_, left, right);
    } else if (op == "!=") {
      holds = !equal(meter_, left, right);
    } else if (op == "in") {
      holds = contains(meter_, right, left);
    } else if (op == "not in") {
      holds = !contains(meter_, right, left);
    } else {
      if (left.is_undefined() || right.is_undefined()) fail_operands(op, left, right);
      const int order = compare(meter_, left, right);
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
      holds = holds && order != kUnordered;
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
  if (!is_sequence(object)) fail(fmt::format("'{}' object is not subscriptable", type_name(object)));
  if (object.string()) return slice_text(object, bounds);
  const ListData& list = *object.list();
  const auto [begin, end, step] = slice_range(static_cast<int64_t>(list.items.size()), bounds[0], bounds[1], bounds[2]);
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    charge(1);
    items.push_back(list.items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  const Value made = make_list(std::move(items), list.kind);
  if (list.kind != ListKind::range) return made;
  auto range = std::make_shared<ListData>(*made.list());
  const auto [first, unused, stride] = list.range;
  range->range = {first + begin * stride, first + end * stride, stride * step};
  return ListRef(std::move(range));
}

Value Evaluator::slice_text(const Value& object, const std::array<Value, 3>& bounds) {
  const std::string& text = *object.string();
  meter_.charge_points(text.size());
  const auto length = static_cast<int64_t>(count_code_points(text));
  const auto [begin, end, step] = slice_range(length, bounds[0], bounds[1], bounds[2]);
  if (step == 1) return make_text(std::string(sub_text(text, begin, std::max(begin, end))), object.is_markup());
  const std::vector<size_t> offsets = code_point_offsets(text);
  std::string characters;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    const auto place = static_cast<size_t>(i);
    characters.append(text, offsets[place], offsets[place + 1] - offsets[place]);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_text(std::move(characters), object.is_markup());
}

Value Evaluator::attribute(const Value& object, std::string_view name) {
  if (const Undefined* undefined = object.get<Undefined>()) fail(*undefined->message);
  if (const auto* loop = object.get<std::shared_ptr<const LoopState>>()) return loop_attribute(*loop, name);
  if (const auto* names = object.get<Namespace*>()) {
    charge((*names)->attributes.size() / 8);
    for (const auto& [known, value] : (*names)->attributes) {
      if (known == name) return value;
    }
    return undefined_member(object, name);
  }
  if (has_method(object, name)) return std::make_shared<const BoundMethod>(BoundMethod{object, std::string(name)});
  if (is_forbidden_method(object, name)) return make_undefined(fmt::format("access to '{}' is unsafe", name));
  if (const DictData* dict = object.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  }
  return undefined_member(object, name);
}

Value Evaluator::item(const Value& object, const Value& key) {
  if (const Undefined* undefined = object.get<Undefined>()) fail(*undefined->message);
  const std::string* name = key.string();
  if (name) meter_.charge_text(name->size());
  if (const DictData* dict = object.dict()) {
    // A key that cannot be one is no error here: Jinja takes it for one that is absent.
    const bool hashable = !key.dict() && !(key.list() && key.list()->kind == ListKind::list);
    if (const Value* found = hashable && !key.is_undefined() ? dict->find(key) : nullptr) return *found;
  } else if (key.get<int64_t>() || key.get<bool>()) {
    const int64_t index = as_int(key, "an index");
    if (const std::string* text = object.string()) {
      meter_.charge_points(index < 0 ? text->size() : std::min(text->size(), static_cast<size_t>(index) * 4));
      const std::string_view letter = sub_text(*text, index, index == -1 ? INT64_MAX : index + 1);
      const bool before = index < 0 && -index > static_cast<int64_t>(count_code_points(*text));
      if (!letter.empty() && !before) return make_text(std::string(letter), object.is_markup());
    } else if (object.list() && object.list()->is_sequence()) {
      if (const auto place = place_of(index, object.list()->items.size())) return object.list()->items[*place];
    }
  }
  return name ? attribute(object, *name) : undefined_member(object, type_name(key));
}

Value Evaluator::evaluate_filter(const Expr& expr, const Value& input) {
  const Value inner = expr.children[0] == nullptr                  ? input
                      : expr.children[0]->kind == ExprKind::filter ? evaluate_filter(*expr.children[0], input)
                                                                   : evaluate(*expr.children[0]);
  if (const std::string* text = inner.string()) meter_.charge_text(text->size());
  if (const ListData* list = inner.list()) charge(list->items.size());
  return apply_filter(expr.name, inner, evaluate_arguments(expr.arguments));
}

Arguments Evaluator::evaluate_arguments(const std::vector<Argument>& arguments) {
  Arguments evaluated;
  const auto add = [&](std::string name, Value value) {
    if (std::any_of(evaluated.named.begin(), evaluated.named.end(), [&](const auto& old) { return old.first == name; }))
      fail(fmt::format("got multiple values for keyword argument '{}'", name));
    charge(evaluated.named.size() / 8);
    evaluated.named.emplace_back(std::move(name), std::move(value));
  };
  for (const Argument& argument : arguments) {
    Value value = evaluate(*argument.value);
    if (argument.stars == 1) {
      const ListRef items = iterate(meter_, value);
      charge(items->items.size());
      evaluated.positional.insert(evaluated.positional.end(), items->items.begin(), items->items.end());
    } else if (argument.stars == 2) {
      if (!value.dict()) fail(fmt::format("argument after ** must be a mapping, not {}", type_name(value)));
      for (const auto& [name, entry] : value.dict()->items) {
        if (!name.string()) fail("keywords must be strings");
        charge(kStepsPerEntry);
        add(*name.string(), entry);
      }
    } else if (argument.keyword.empty()) {
      evaluated.positional.push_back(std::move(value));
    } else {
      add(argument.keyword, std::move(value));
    }
  }
  return evaluated;
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (const Undefined* undefined = callee.get<Undefined>()) fail(*undefined->message);
  if (const auto* macro = callee.get<Macro>()) return call_macro(*macro, arguments);
  if (const auto* builtin = callee.get<Builtin>()) return call_builtin(*builtin, arguments);
  if (const auto* method = callee.get<MethodRef>()) return call_method((*method)->object, (*method)->name, arguments);
  fail(fmt::format("'{}' object is not callable", type_name(callee)));
}

}  // namespace echelon::templates
