// Filters: value | name(arguments). Each is Jinja's of that name. Here those of sequences and dicts, and the look-up of
// all; those of texts and numbers: template_text_filters.cc. Adding one: a function below, and a line in kFilters.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_strings.h"
#include "engine/text/unicode.h"

namespace echelon::templates {

namespace {

using Parts = std::vector<Value>;

void check_path_size(const std::string& path) {
  constexpr size_t kMaxPathBytes = 4096;
  if (path.size() > kMaxPathBytes) fail(fmt::format("an attribute is longer than {} bytes", kMaxPathBytes));
}

/// "name.0,other" of an attribute argument: each part is names and indices, to be looked up one in the other.
Parts parts_of(const Value& path) {
  if (path.is_none()) return {};
  if (path.get<int64_t>()) return {path};
  if (!path.string()) fail(fmt::format("an attribute must be a name or an index, not '{}'", type_name(path)));
  Parts parts;
  const std::string& text = *path.string();
  check_path_size(text);
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    int64_t index = 0;
    const bool digits = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    const bool number = digits && std::from_chars(part.data(), part.data() + part.size(), index).ec == std::errc();
    parts.push_back(number ? Value(index) : Value(part));
    begin = end + 1;
  }
  return parts;
}

Value look_up(Evaluator& evaluator, Value value, const Parts& parts, const Value* absent = nullptr) {
  for (const Value& part : parts) {
    evaluator.charge(1);
    value = evaluator.item(value, part);
    if (absent && !absent->is_none() && value.is_undefined()) value = *absent;
  }
  return value;
}

Arguments rest_of(const Arguments& arguments, size_t from) {
  Arguments rest{{}, arguments.named};
  for (size_t i = from; i < arguments.positional.size(); ++i) rest.positional.push_back(arguments.positional[i]);
  return rest;
}

void charge_input(Evaluator& evaluator, const Value& input) {
  if (const std::string* text = input.string()) evaluator.meter().charge_text(text->size());
  if (const ListData* list = input.list()) evaluator.charge(list->items.size());
}

Value make_generator(std::vector<Value> items) { return make_list(std::move(items), ListKind::generator); }

Value filter_map(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  if (!truthy(input)) return make_generator({});
  std::vector<Value> out;
  const bool by_attribute = arguments.positional.empty();
  if (by_attribute) arguments.check("map", std::array<std::string_view, 2>{"attribute", "default"});
  const Parts parts = by_attribute ? parts_of(arguments.need(0, "attribute")) : Parts();
  const std::string name = by_attribute ? "" : evaluator.text_of(arguments.positional[0]);
  const Arguments rest = by_attribute ? Arguments() : rest_of(arguments, 1);
  const ListRef values = iterate(evaluator.meter(), input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    if (by_attribute) {
      out.push_back(look_up(evaluator, item, parts, arguments.find(SIZE_MAX, "default")));
    } else {
      charge_input(evaluator, item);
      out.push_back(evaluator.apply_filter(name, item, rest));
    }
  }
  return make_generator(std::move(out));
}

/// select, reject, selectattr and rejectattr.
Value choose(Evaluator& evaluator, const Value& input, const Arguments& arguments, bool by_attribute, bool wanted) {
  if (!truthy(input)) return make_generator({});
  std::vector<Value> out;
  const size_t test = by_attribute ? 1 : 0;
  const Parts parts = by_attribute ? parts_of(arguments.need(0, "attribute")) : Parts();
  const bool tested = test < arguments.positional.size();
  const std::string name = tested ? evaluator.text_of(arguments.positional[test]) : "";
  const Arguments test_arguments = rest_of(arguments, test + 1);
  const ListRef values = iterate(evaluator.meter(), input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    const Value subject = look_up(evaluator, item, parts);
    const bool holds = tested ? evaluator.apply_test(name, subject, test_arguments) : truthy(subject);
    if (holds == wanted) out.push_back(item);
  }
  return make_generator(std::move(out));
}

Value folded(Evaluator& evaluator, const Value& value, bool case_sensitive) {
  if (!value.string() || case_sensitive) return value;
  evaluator.meter().charge_points(value.string()->size());
  return unicode::to_lower(*value.string());
}

/// Each item with what it is ordered by: one attribute or, where `several` may have commas, a list of them.
std::vector<std::pair<Value, Value>> keyed(Evaluator& evaluator, const Value& input, const Value* path,
                                           bool case_sensitive, bool several = false, const Value* absent = nullptr) {
  std::vector<Parts> paths;
  if (several && path && path->string()) {
    const std::string& text = *path->string();
    check_path_size(text);
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      paths.push_back(parts_of(Value(text.substr(begin, end - begin))));
      begin = end + 1;
    }
  } else {
    paths.push_back(path ? parts_of(*path) : Parts());
  }
  std::vector<std::pair<Value, Value>> out;
  const ListRef values = iterate(evaluator.meter(), input);
  for (const Value& item : values->items) {
    std::vector<Value> keys;
    for (const Parts& parts : paths) {
      evaluator.charge(1);
      keys.push_back(folded(evaluator, look_up(evaluator, item, parts, absent), case_sensitive));
    }
    out.emplace_back(keys.size() == 1 ? std::move(keys.front()) : make_list(std::move(keys)), item);
  }
  return out;
}

void sort_by_key(Evaluator& evaluator, std::vector<std::pair<Value, Value>>& items, bool reverse) {
  const int sign = reverse ? -1 : 1;
  std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
    const int order = compare(evaluator.meter(), a.first, b.first);
    return order != kUnordered && sign * order < 0;
  });
}

Value filter_sort(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  auto items = keyed(evaluator, input, arguments.find(2, "attribute"),
                     flag_argument(arguments, 1, "case_sensitive", false), true);
  sort_by_key(evaluator, items, flag_argument(arguments, 0, "reverse", false));
  std::vector<Value> out;
  for (auto& [key, item] : items) out.push_back(std::move(item));
  return make_list(std::move(out));
}

/// Lists of the items that share an attribute, in its order: pairs (grouper, list).
Value filter_groupby(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value& path = arguments.need(0, "attribute");
  const Value* absent = arguments.find(1, "default");
  const bool exact = flag_argument(arguments, 2, "case_sensitive", false);
  auto items = keyed(evaluator, input, &path, exact, false, absent);
  sort_by_key(evaluator, items, false);
  std::vector<Value> groups;
  for (size_t begin = 0; begin < items.size();) {
    std::vector<Value> members;
    size_t end = begin;
    while (end < items.size() && equal(evaluator.meter(), items[end].first, items[begin].first)) {
      members.push_back(items[end++].second);
    }
    if (end == begin) members.push_back(items[end++].second);  // NaN equals nothing
    const Value grouper = exact ? items[begin].first : look_up(evaluator, members.front(), parts_of(path), absent);
    groups.push_back(make_list({grouper, make_list(std::move(members))}, ListKind::tuple));
    begin = end;
  }
  return make_list(std::move(groups));
}

Value filter_dictsort(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  if (!input.dict()) fail(fmt::format("dictsort needs a dict, not '{}'", type_name(input)));
  const Value* by = arguments.find(1, "by");
  const std::string order = by ? evaluator.text_of(*by) : "key";
  if (order != "key" && order != "value") fail("You can only sort by either \"key\" or \"value\"");
  const bool by_value = order == "value";
  const Value pairs = call_container_method(evaluator, input, "items", {});
  Arguments sort_arguments;
  sort_arguments.named = {{"attribute", Value(int64_t{by_value ? 1 : 0})},
                          {"case_sensitive", Value(flag_argument(arguments, 0, "case_sensitive", false))},
                          {"reverse", Value(flag_argument(arguments, 2, "reverse", false))}};
  return filter_sort(evaluator, pairs, sort_arguments);
}

Value filter_unique(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  std::set<std::string> seen;
  std::vector<Value> out;
  for (auto& [key, item] :
       keyed(evaluator, input, arguments.find(1, "attribute"), flag_argument(arguments, 0, "case_sensitive", false))) {
    std::string spelled = key_text(key);
    evaluator.charge(kStepsPerEntry);
    evaluator.meter().charge_text(spelled.size());
    if (seen.insert(std::move(spelled)).second) out.push_back(item);
  }
  return make_generator(std::move(out));
}

Value extreme(Evaluator& evaluator, const Value& input, const Arguments& arguments, int sign) {
  const auto items =
      keyed(evaluator, input, arguments.find(1, "attribute"), flag_argument(arguments, 0, "case_sensitive", false));
  if (items.empty()) return make_undefined("No aggregated item, sequence was empty.");
  return std::min_element(items.begin(), items.end(),
                          [&](const auto& a, const auto& b) {
                            const int order = compare(evaluator.meter(), a.first, b.first);
                            return order != kUnordered && sign * order < 0;
                          })
      ->second;
}

Value filter_join(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* separator = arguments.find(0, "d");
  const Value* path = arguments.find(1, "attribute");
  const Parts parts = path ? parts_of(*path) : Parts();
  const std::string between = separator ? evaluator.text_of(*separator) : "";
  std::string out;
  bool first = true;
  const ListRef values = iterate(evaluator.meter(), input);
  for (const Value& item : values->items) {
    if (!first) out += between;
    const std::string text = evaluator.text_of(look_up(evaluator, item, parts));
    out += text;
    first = false;
    evaluator.meter().charge_text(between.size() + text.size());
    check_text_size(out.size());
  }
  return out;
}

Value filter_sum(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* path = arguments.find(0, "attribute");
  const Value* start = arguments.find(1, "start");
  const Parts parts = path ? parts_of(*path) : Parts();
  Value total = start ? *start : Value(int64_t{0});
  if (total.string()) fail("sum() can't sum strings");
  const ListRef values = iterate(evaluator.meter(), input);
  for (const Value& item : values->items) {
    evaluator.charge(1);
    total = evaluator.arithmetic("+", total, look_up(evaluator, item, parts));
  }
  return total;
}

Value filter_reverse(Evaluator& evaluator, const Value& input, const Arguments&) {
  const ListRef items = iterate(evaluator.meter(), input);
  std::vector<Value> out(items->items.rbegin(), items->items.rend());
  evaluator.charge(out.size());
  if (!input.string()) return make_generator(std::move(out));
  std::string text;
  for (const Value& character : out) text += *character.string();
  return make_text(std::move(text), input.is_markup());
}

Value filter_items(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (input.is_undefined()) return make_generator({});
  if (!input.dict()) fail("Can only get item pairs from a mapping.");
  return make_generator(call_container_method(evaluator, input, "items", {}).list()->items);
}

/// A count of lists or of items in one: hostile ones are refused before anything is made.
int64_t count_argument(const Arguments& arguments, std::string_view name) {
  const int64_t count = as_int(arguments.need(0, name), name);
  if (count > kMaxRange) fail(fmt::format("{} is more than {}", name, kMaxRange));
  return count;
}

/// Lists of `linecount` items each.
Value filter_batch(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const int64_t size = count_argument(arguments, "linecount");
  const Value* fill = arguments.find(1, "fill_with");
  const ListRef values = iterate(evaluator.meter(), input);
  std::vector<Value> out, line;
  for (const Value& item : values->items) {
    evaluator.charge(1);
    if (static_cast<int64_t>(line.size()) == size) {
      evaluator.charge(kStepsPerEntry);
      out.push_back(make_list(std::exchange(line, {})));
    }
    line.push_back(item);
  }
  if (line.empty()) return make_generator(std::move(out));
  while (fill && !fill->is_none() && static_cast<int64_t>(line.size()) < size) {
    evaluator.charge(1);
    line.push_back(*fill);
  }
  out.push_back(make_list(std::move(line)));
  return make_generator(std::move(out));
}

/// `slices` lists, as equal in length as can be.
Value filter_slice(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const int64_t slices = count_argument(arguments, "slices");
  const Value* fill = arguments.find(1, "fill_with");
  const ListRef values = iterate(evaluator.meter(), input);
  const auto length = static_cast<int64_t>(values->items.size());
  if (slices == 0) fail("integer division or modulo by zero");
  std::vector<Value> out;
  for (int64_t i = 0, begin = 0; i < slices; ++i) {
    const bool longer = i < length % slices;
    const int64_t end = begin + length / slices + (longer ? 1 : 0);
    evaluator.charge(static_cast<size_t>(end - begin) + kStepsPerText);
    std::vector<Value> part(values->items.begin() + begin, values->items.begin() + end);
    if (fill && !fill->is_none() && !longer) part.push_back(*fill);
    out.push_back(make_list(std::move(part)));
    begin = end;
  }
  return make_generator(std::move(out));
}

/// An attribute, never an entry of a dict.
Value filter_attr(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const std::string name = evaluator.text_of(arguments.need(0, "name"));
  if (!input.dict() || has_method(input, name)) return evaluator.attribute(input, name);
  return make_undefined(fmt::format("'dict object' has no attribute '{}'", name));
}

Value filter_last(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (const std::string* text = input.string()) {
    const std::string_view last = sub_text(*text, -1, INT64_MAX);
    if (!text->empty()) return std::string(last);
  } else {
    if (input.list() && input.list()->kind == ListKind::generator) fail("'generator' object is not reversible");
    const ListRef items = iterate(evaluator.meter(), input);
    if (!items->items.empty()) return items->items.back();
  }
  return make_undefined("No last item, sequence was empty.");
}

Value filter_first(Evaluator& evaluator, const Value& input, const Arguments&) {
  const std::optional<Value> first = first_of(evaluator.meter(), input);
  return first ? *first : make_undefined("No first item, sequence was empty.");
}

Value filter_list(Evaluator& evaluator, const Value& input, const Arguments&) {
  return make_list(iterate(evaluator.meter(), input)->items);
}

using E = Evaluator;
using V = Value;
using A = Arguments;

/// Sorted by name.
constexpr NamedFilter kFilters[] = {
    {"attr", filter_attr, {"name"}},
    {"batch", filter_batch, {"linecount", "fill_with"}},
    {"count", [](E&, const V& v, const A&) { return V(length_of(v)); }},
    {"dictsort", filter_dictsort, {"case_sensitive", "by", "reverse"}},
    {"first", filter_first},
    {"groupby", filter_groupby, {"attribute", "default", "case_sensitive"}},
    {"items", filter_items},
    {"join", filter_join, {"d", "attribute"}},
    {"last", filter_last},
    {"length", [](E&, const V& v, const A&) { return V(length_of(v)); }},
    {"list", filter_list},
    {"map", filter_map, {}, true},
    {"max", [](E& e, const V& v, const A& a) { return extreme(e, v, a, -1); }, {"case_sensitive", "attribute"}},
    {"min", [](E& e, const V& v, const A& a) { return extreme(e, v, a, 1); }, {"case_sensitive", "attribute"}},
    {"reject", [](E& e, const V& v, const A& a) { return choose(e, v, a, false, false); }, {}, true},
    {"rejectattr", [](E& e, const V& v, const A& a) { return choose(e, v, a, true, false); }, {}, true},
    {"reverse", filter_reverse},
    {"select", [](E& e, const V& v, const A& a) { return choose(e, v, a, false, true); }, {}, true},
    {"selectattr", [](E& e, const V& v, const A& a) { return choose(e, v, a, true, true); }, {}, true},
    {"slice", filter_slice, {"slices", "fill_with"}},
    {"sort", filter_sort, {"reverse", "case_sensitive", "attribute"}},
    {"sum", filter_sum, {"attribute", "start"}},
    {"unique", filter_unique, {"case_sensitive", "attribute"}},
};

const NamedFilter* find_filter(std::string_view name) {
  for (const std::span<const NamedFilter> filters : {std::span<const NamedFilter>(kFilters), text_filters()}) {
    const auto found =
        std::lower_bound(filters.begin(), filters.end(), name,
                         [](const NamedFilter& entry, std::string_view wanted) { return entry.name < wanted; });
    if (found != filters.end() && found->name == name) return &*found;
  }
  return nullptr;
}

}  // namespace

bool flag_argument(const Arguments& arguments, size_t position, std::string_view name, bool absent) {
  const Value* value = arguments.find(position, name);
  return value ? truthy(*value) : absent;
}

bool has_filter(std::string_view name) { return find_filter(name) != nullptr; }

Value Evaluator::apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  charge(1);
  const NamedFilter* filter = find_filter(name);
  if (filter == nullptr) fail(fmt::format("the filter '{}' is unknown or not supported", name));
  if (!filter->variadic) arguments.check(name, filter->parameters);
  return filter->apply(*this, input, arguments);
}

}  // namespace echelon::templates
