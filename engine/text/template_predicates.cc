// Tests ("x is name"). Each is Jinja's of that name.
// Adding one: a function below, and a line in kTests.
#include <fmt/format.h>

#include <algorithm>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_strings.h"

namespace echelon::templates {

namespace {

bool is_sequence(const Value& value) {
  return value.string() || value.dict() || value.is_undefined() || (value.list() && value.list()->is_sequence());
}

bool is_callable(const Value& value) {
  return value.get<Builtin>() || value.get<MethodRef>() || value.get<Macro>() || value.is_undefined();
}

bool is_divisible(Evaluator& evaluator, const Value& value, const Value& by) {
  return equal(evaluator.meter(), evaluator.arithmetic("%", value, by), Value(int64_t{0}));
}

bool is_odd(Evaluator& evaluator, const Value& value) {
  return equal(evaluator.meter(), evaluator.arithmetic("%", value, Value(int64_t{2})), Value(int64_t{1}));
}

bool is_cased(Evaluator& evaluator, const Value& value, bool upper) {
  const std::string text = evaluator.text_of(value);
  evaluator.meter().charge_points(text.size());
  return is_cased_as(text, upper);
}

/// Whether they are one object; small values are what they equal.
bool is_same(Evaluator& evaluator, const Value& left, const Value& right) {
  if (left.list() || left.dict()) return left.list() == right.list() && left.dict() == right.dict();
  if (left.is_undefined() || right.is_undefined()) return false;
  return left.variant().index() == right.variant().index() && equal(evaluator.meter(), left, right);
}

using E = Evaluator;
using V = Value;

struct NamedTest {
  std::string_view name;
  size_t num_arguments;
  bool (*holds)(Evaluator&, const Value& input, const Value& argument);
};

bool is_equal(E& e, const V& a, const V& b) { return equal(e.meter(), a, b); }
bool is_different(E& e, const V& a, const V& b) { return !equal(e.meter(), a, b); }
template <char kOp, bool kOrEqual>
bool is_ordered(E& e, const V& a, const V& b) {
  const int order = compare(e.meter(), a, b);
  if (order == kUnordered) return false;
  return (kOrEqual && order == 0) || (kOp == '<' ? order < 0 : order > 0);
}

/// Sorted by name.
constexpr NamedTest kTests[] = {
    {"!=", 1, is_different},
    {"<", 1, is_ordered<'<', false>},
    {"<=", 1, is_ordered<'<', true>},
    {"==", 1, is_equal},
    {">", 1, is_ordered<'>', false>},
    {">=", 1, is_ordered<'>', true>},
    {"boolean", 0, [](E&, const V& v, const V&) { return v.get<bool>() != nullptr; }},
    {"callable", 0, [](E&, const V& v, const V&) { return is_callable(v); }},
    {"defined", 0, [](E&, const V& v, const V&) { return !v.is_undefined(); }},
    {"divisibleby", 1, is_divisible},
    {"eq", 1, is_equal},
    {"equalto", 1, is_equal},
    {"escaped", 0, [](E&, const V& v, const V&) { return v.is_markup(); }},
    {"even", 0, [](E& e, const V& v, const V&) { return is_divisible(e, v, Value(int64_t{2})); }},
    {"false", 0, [](E&, const V& v, const V&) { return v.get<bool>() && !*v.get<bool>(); }},
    {"filter", 0, [](E&, const V& v, const V&) { return v.string() ? has_filter(*v.string()) : (key_text(v), false); }},
    {"float", 0, [](E&, const V& v, const V&) { return v.get<double>() != nullptr; }},
    {"ge", 1, is_ordered<'>', true>},
    {"greaterthan", 1, is_ordered<'>', false>},
    {"gt", 1, is_ordered<'>', false>},
    {"in", 1, [](E& e, const V& v, const V& in) { return contains(e.meter(), in, v); }},
    {"integer", 0, [](E&, const V& v, const V&) { return v.get<int64_t>() != nullptr; }},
    {"iterable", 0, [](E&, const V& v, const V&) { return is_sequence(v) || v.list(); }},
    {"le", 1, is_ordered<'<', true>},
    {"lessthan", 1, is_ordered<'<', false>},
    {"lower", 0, [](E& e, const V& v, const V&) { return is_cased(e, v, false); }},
    {"lt", 1, is_ordered<'<', false>},
    {"mapping", 0, [](E&, const V& v, const V&) { return v.dict() != nullptr; }},
    {"ne", 1, is_different},
    {"none", 0, [](E&, const V& v, const V&) { return v.is_none(); }},
    {"number", 0, [](E&, const V& v, const V&) { return v.is_number(); }},
    {"odd", 0, [](E& e, const V& v, const V&) { return is_odd(e, v); }},
    {"sameas", 1, is_same},
    {"sequence", 0, [](E&, const V& v, const V&) { return is_sequence(v); }},
    {"string", 0, [](E&, const V& v, const V&) { return v.string() != nullptr; }},
    {"test", 0, [](E&, const V& v, const V&) { return v.string() ? has_test(*v.string()) : (key_text(v), false); }},
    {"true", 0, [](E&, const V& v, const V&) { return v.get<bool>() && *v.get<bool>(); }},
    {"undefined", 0, [](E&, const V& v, const V&) { return v.is_undefined(); }},
    {"upper", 0, [](E& e, const V& v, const V&) { return is_cased(e, v, true); }},
};

const NamedTest* find_test(std::string_view name) {
  const auto found =
      std::lower_bound(std::begin(kTests), std::end(kTests), name,
                       [](const NamedTest& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != std::end(kTests) && found->name == name ? &*found : nullptr;
}

}  // namespace

bool has_test(std::string_view name) { return find_test(name) != nullptr; }

bool Evaluator::apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  charge(1);
  const NamedTest* test = find_test(name);
  if (test == nullptr) fail(fmt::format("the test '{}' is unknown or not supported", name));
  const size_t given = arguments.positional.size() + arguments.named.size();
  if (given != test->num_arguments) fail(fmt::format("the test '{}' takes {} arguments", name, test->num_arguments));
  const Value none;
  return test->holds(*this, input,
                     given == 0                     ? none
                     : arguments.positional.empty() ? arguments.named[0].second
                                                    : arguments.positional[0]);
}

}  // namespace echelon::templates
