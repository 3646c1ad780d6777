// Filters: value | name(arguments). Each is Jinja's of that name; tojson is the one that transformers puts in its
// place. Adding one: a function below, and a line in kFilters.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "engine/text/template_evaluator.h"
#include "engine/text/unicode.h"

namespace echelon::templates {

namespace {

using Filter = Value (*)(Evaluator&, const Value&, const Arguments&);

bool flag_argument(const Arguments& arguments, size_t position, std::string_view name, bool absent) {
  const Value* value = arguments.find(position, name);
  return value ? truthy(*value) : absent;
}

/// "function.name" or an index: item by item, as map(attribute=...) reads it.
Value attribute_path(Evaluator& evaluator, Value value, const Value& path) {
  if (path.get<int64_t>()) return evaluator.item(value, path);
  const std::string text = to_text(path);
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    int64_t index = 0;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = !part.empty() && parsed.ec == std::errc() && parsed.ptr == part.data() + part.size();
    value = evaluator.item(value, number ? Value(index) : Value(part));
    begin = end + 1;
  }
  return value;
}

Arguments rest_of(const Arguments& arguments, size_t from) {
  Arguments rest{{}, arguments.named};
  for (size_t i = from; i < arguments.positional.size(); ++i) rest.positional.push_back(arguments.positional[i]);
  return rest;
}

Value make_generator(std::vector<Value> items) { return make_list(std::move(items), ListKind::generator); }

Value filter_map(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  std::vector<Value> out;
  const bool by_attribute = arguments.positional.empty();
  if (by_attribute) arguments.check("map", 0, {"attribute", "default"});
  const ListRef values = iterate(input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    if (by_attribute) {
      Value found = attribute_path(evaluator, item, arguments.need(0, "attribute"));
      const Value* absent = arguments.find(SIZE_MAX, "default");
      out.push_back(found.is_undefined() && absent ? *absent : found);
    } else {
      out.push_back(evaluator.apply_filter(to_text(arguments.positional[0]), item, rest_of(arguments, 1)));
    }
  }
  return make_generator(std::move(out));
}

/// select, reject, selectattr and rejectattr.
Value choose(Evaluator& evaluator, const Value& input, const Arguments& arguments, bool by_attribute, bool wanted) {
  std::vector<Value> out;
  const size_t test = by_attribute ? 1 : 0;
  const Arguments test_arguments = rest_of(arguments, test + 1);
  const ListRef values = iterate(input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    const Value subject = by_attribute ? attribute_path(evaluator, item, arguments.need(0, "attribute")) : item;
    const bool holds = test < arguments.positional.size()
                           ? evaluator.apply_test(to_text(arguments.positional[test]), subject, test_arguments)
                           : truthy(subject);
    if (holds == wanted) out.push_back(item);
  }
  return make_generator(std::move(out));
}

Value folded(const Value& value, bool case_sensitive) {
  return value.string() && !case_sensitive ? Value(unicode::to_lower(*value.string())) : value;
}

/// Each item with what it is ordered by.
std::vector<std::pair<Value, Value>> keyed(Evaluator& evaluator, const Value& input, const Value* path,
                                           bool case_sensitive) {
  std::vector<std::pair<Value, Value>> out;
  const ListRef values = iterate(input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    out.emplace_back(folded(path && !path->is_none() ? attribute_path(evaluator, item, *path) : item, case_sensitive),
                     item);
  }
  return out;
}

Value filter_sort(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  auto items =
      keyed(evaluator, input, arguments.find(2, "attribute"), flag_argument(arguments, 1, "case_sensitive", false));
  const int sign = flag_argument(arguments, 0, "reverse", false) ? -1 : 1;
  evaluator.charge(items.size() * 16);  // comparisons per item
  std::stable_sort(items.begin(), items.end(),
                   [&](const auto& a, const auto& b) { return sign * compare(a.first, b.first) < 0; });
  std::vector<Value> out;
  for (auto& [key, item] : items) out.push_back(std::move(item));
  return make_list(std::move(out));
}

Value filter_dictsort(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  if (!input.dict()) fail(fmt::format("dictsort needs a dict, not '{}'", type_name(input)));
  const Value* by = arguments.find(1, "by");
  const bool by_value = by && to_text(*by) == "value";
  const Value pairs = call_container_method(input, "items", {});
  Arguments sort_arguments;
  sort_arguments.named = {{"attribute", Value(int64_t{by_value ? 1 : 0})},
                          {"case_sensitive", Value(flag_argument(arguments, 0, "case_sensitive", false))},
                          {"reverse", Value(flag_argument(arguments, 2, "reverse", false))}};
  return filter_sort(evaluator, pairs, sort_arguments);
}

Value filter_unique(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  std::vector<Value> seen, out;
  for (auto& [key, item] :
       keyed(evaluator, input, arguments.find(1, "attribute"), flag_argument(arguments, 0, "case_sensitive", false))) {
    evaluator.charge(seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&k = key](const Value& value) { return equal(value, k); })) continue;
    seen.push_back(key);
    out.push_back(item);
  }
  return make_generator(std::move(out));
}

Value extreme(Evaluator& evaluator, const Value& input, const Arguments& arguments, int sign) {
  const auto items =
      keyed(evaluator, input, arguments.find(1, "attribute"), flag_argument(arguments, 0, "case_sensitive", false));
  if (items.empty()) return Undefined{std::make_shared<const std::string>("No aggregated item, sequence was empty.")};
  return std::min_element(items.begin(), items.end(),
                          [&](const auto& a, const auto& b) { return sign * compare(a.first, b.first) < 0; })
      ->second;
}

Value filter_join(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "d");
  const Value* path = arguments.find(1, "attribute");
  const std::string between = separator ? to_text(*separator) : "";
  std::string out;
  bool first = true;
  const ListRef values = iterate(input);
  for (const Value& item : values->items) {
    if (!first) out += between;
    out += to_text(path ? attribute_path(evaluator, item, *path) : item);
    first = false;
    if (out.size() > kMaxTextBytes) break;
  }
  return evaluator.charged(std::move(out));
}

Value filter_default(Evaluator&, const Value& input, const Arguments& arguments) {
  const Value* absent = arguments.find(0, "default_value");
  const bool replace = input.is_undefined() || (flag_argument(arguments, 1, "boolean", false) && !truthy(input));
  return replace ? (absent ? *absent : Value("")) : input;
}

Value filter_tojson(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  arguments.check("tojson", 4, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.ascii_only = flag_argument(arguments, 0, "ensure_ascii", false),
                  .sort_keys = flag_argument(arguments, 3, "sort_keys", false)};
  if (const Value* indent = arguments.find(1, "indent"); indent && !indent->is_none()) {
    style.multiline = true;
    style.item_separator = ',';
    if (indent->string()) {
      style.indent = *indent->string();
    } else {
      const int64_t width = as_int(*indent, "indent");
      if (width > 64) fail("indent is more than 64");
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (const Value* separators = arguments.find(2, "separators"); separators && !separators->is_none()) {
    const ListRef pair = iterate(*separators);
    if (pair->items.size() != 2) fail("separators must be a pair");
    style.item_separator = to_text(pair->items[0]);
    style.key_separator = to_text(pair->items[1]);
  }
  return evaluator.charged(to_json(input, style));
}

Value filter_int(Evaluator&, const Value& input, const Arguments& arguments) {
  const Value* absent = arguments.find(0, "default");
  const Value failed = absent ? *absent : Value(int64_t{0});
  if (input.get<int64_t>() || input.get<bool>()) return as_int(input, "a number");
  double number = 0;
  if (const std::string* text = input.string()) {
    std::string digits = strip(*text, nullptr, true, true);
    if (digits.starts_with('+')) digits.erase(0, 1);
    int64_t whole = 0;
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, whole);
    if (parsed.ec == std::errc() && parsed.ptr == end) return whole;
    const auto real = std::from_chars(digits.data(), end, number);
    if (real.ec != std::errc() || real.ptr != end) return failed;
  } else if (input.get<double>()) {
    number = *input.get<double>();
  } else {
    return failed;
  }
  if (!std::isfinite(number)) return failed;
  if (std::abs(number) >= 9.2e18) fail("integer result too large");
  return static_cast<int64_t>(number);
}

Value filter_float(Evaluator&, const Value& input, const Arguments& arguments) {
  const Value* absent = arguments.find(0, "default");
  const Value failed = absent ? *absent : Value(0.0);
  if (input.is_number()) return as_double(input);
  if (!input.string()) return failed;
  std::string digits = strip(*input.string(), nullptr, true, true);
  if (digits.starts_with('+')) digits.erase(0, 1);
  double number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return parsed.ec == std::errc() && !digits.empty() && parsed.ptr == digits.data() + digits.size() ? Value(number)
                                                                                                    : failed;
}

Value filter_round(Evaluator&, const Value& input, const Arguments& arguments) {
  const Value* precision_value = arguments.find(0, "precision");
  const Value* method_value = arguments.find(1, "method");
  const int64_t precision = precision_value ? as_int(*precision_value, "precision") : 0;
  const std::string method = method_value ? to_text(*method_value) : "common";
  if (precision < 0 || precision > 30) fail("precision must be from 0 to 30");
  if (method == "common") {
    if (!input.get<double>()) return as_int(input, "a number");
    char buffer[400];
    std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), *input.get<double>());
    return std::strtod(buffer, nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(as_double(input) * scale) / scale;
  if (method == "floor") return std::floor(as_double(input) * scale) / scale;
  fail("method must be common, ceil or floor");
}

Value filter_sum(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* path = arguments.find(0, "attribute");
  const Value* start = arguments.find(1, "start");
  Value total = start ? *start : Value(int64_t{0});
  const ListRef values = iterate(input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    total = arithmetic("+", total, path && !path->is_none() ? attribute_path(evaluator, item, *path) : item);
  }
  return total;
}

Value filter_indent(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* width = arguments.find(0, "width");
  std::string margin(4, ' ');
  if (width && width->string()) {
    margin = *width->string();
  } else if (width) {
    margin.assign(static_cast<size_t>(std::clamp<int64_t>(as_int(*width, "width"), 0, 1000)), ' ');
  }
  const bool blank = flag_argument(arguments, 2, "blank", false);
  std::string out = flag_argument(arguments, 1, "first", false) ? margin : "";
  bool first = true;
  for (const std::string& line : split_lines(to_text(input) + "\n")) {
    if (!first) out += blank || !line.empty() ? "\n" + margin : "\n";
    out += line;
    first = false;
    if (out.size() > kMaxTextBytes) break;
  }
  return evaluator.charged(std::move(out));
}

Value filter_reverse(Evaluator&, const Value& input, const Arguments&) {
  const ListRef items = iterate(input);
  std::vector<Value> out(items->items.rbegin(), items->items.rend());
  if (!input.string()) return make_generator(std::move(out));
  std::string text;
  for (const Value& character : out) text += *character.string();
  return text;
}

Value filter_items(Evaluator&, const Value& input, const Arguments&) {
  if (input.is_undefined()) return make_generator({});
  if (!input.dict()) fail("Can only get item pairs from a mapping.");
  return make_generator(call_container_method(input, "items", {}).list()->items);
}

/// An attribute, never an entry of a dict.
Value filter_attr(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const std::string name = to_text(arguments.need(0, "name"));
  if (!input.dict() || has_method(input, name)) return evaluator.attribute(input, name);
  return Undefined{std::make_shared<const std::string>(fmt::format("'dict object' has no attribute '{}'", name))};
}

Value filter_escape(Evaluator& evaluator, const Value& input, const Arguments&) {
  std::string out;
  for (const char c : to_text(input)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return evaluator.charged(std::move(out));
}

Value filter_replace(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* count = arguments.find(2, "count");
  return replace_text(evaluator, to_text(input), to_text(arguments.need(0, "old")), to_text(arguments.need(1, "new")),
                      count && !count->is_none() ? as_int(*count, "count") : -1);
}

Value edge(const Value& input, bool first) {
  const ListRef items = iterate(input);
  if (!items->items.empty()) return first ? items->items.front() : items->items.back();
  return Undefined{std::make_shared<const std::string>(first ? "No first item, sequence was empty."
                                                             : "No last item, sequence was empty.")};
}

struct NamedFilter {
  std::string_view name;
  Filter filter;
};

constexpr NamedFilter kFilters[] = {
    {"abs",
     [](Evaluator&, const Value& v, const Arguments&) {
       if (v.get<double>()) return Value(std::abs(*v.get<double>()));
       return as_int(v, "a number") < 0 ? arithmetic("-", Value(int64_t{0}), v) : Value(as_int(v, "a number"));
     }},
    {"attr", filter_attr},
    {"capitalize", [](Evaluator&, const Value& v, const Arguments&) { return Value(capitalize(to_text(v))); }},
    {"count", [](Evaluator&, const Value& v, const Arguments&) { return Value(length_of(v)); }},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", [](Evaluator&, const Value& v, const Arguments&) { return edge(v, true); }},
    {"float", filter_float},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", [](Evaluator&, const Value& v, const Arguments&) { return edge(v, false); }},
    {"length", [](Evaluator&, const Value& v, const Arguments&) { return Value(length_of(v)); }},
    {"list", [](Evaluator&, const Value& v, const Arguments&) { return make_list(iterate(v)->items); }},
    {"lower", [](Evaluator&, const Value& v, const Arguments&) { return Value(unicode::to_lower(to_text(v))); }},
    {"map", filter_map},
    {"max", [](Evaluator& e, const Value& v, const Arguments& a) { return extreme(e, v, a, -1); }},
    {"min", [](Evaluator& e, const Value& v, const Arguments& a) { return extreme(e, v, a, 1); }},
    {"reject", [](Evaluator& e, const Value& v, const Arguments& a) { return choose(e, v, a, false, false); }},
    {"rejectattr", [](Evaluator& e, const Value& v, const Arguments& a) { return choose(e, v, a, true, false); }},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", [](Evaluator&, const Value& v, const Arguments&) { return v; }},
    {"select", [](Evaluator& e, const Value& v, const Arguments& a) { return choose(e, v, a, false, true); }},
    {"selectattr", [](Evaluator& e, const Value& v, const Arguments& a) { return choose(e, v, a, true, true); }},
    {"sort", filter_sort},
    {"string", [](Evaluator& e, const Value& v, const Arguments&) { return Value(e.charged(to_text(v))); }},
    {"sum", filter_sum},
    {"title", [](Evaluator&, const Value& v, const Arguments&) { return Value(title(to_text(v))); }},
    {"tojson", filter_tojson},
    {"trim", [](Evaluator&, const Value& v,
                const Arguments& a) { return Value(strip(to_text(v), a.find(0, "chars"), true, true)); }},
    {"unique", filter_unique},
    {"upper", [](Evaluator&, const Value& v, const Arguments&) { return Value(unicode::to_upper(to_text(v))); }},
};

}  // namespace

Value Evaluator::apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  charge(1);
  for (const NamedFilter& entry : kFilters) {
    if (entry.name == name) return entry.filter(*this, input, arguments);
  }
  fail(fmt::format("the filter '{}' is unknown or not supported", name));
}

}  // namespace echelon::templates
