// Values of the template language: making them, truth, equality, order, iteration.
// Each rule is Python's for the same types.
#include "engine/text/template_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/text/template_strings.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

constexpr size_t kIndexedFrom = 16;  ///< entries from which a dict has an index

int depth_of(const Value& value) {
  if (const ListData* list = value.list()) return list->depth;
  if (const DictData* dict = value.dict()) return dict->depth;
  return 0;
}

int checked_depth(int depth) {
  if (depth > kMaxValueDepth) fail(fmt::format("a value is nested deeper than {} levels", kMaxValueDepth));
  return depth;
}

bool is_integral(const Value& value) { return value.get<bool>() || value.get<int64_t>(); }

int64_t integral(const Value& value) {
  if (const bool* flag = value.get<bool>()) return *flag ? 1 : 0;
  return *value.get<int64_t>();
}

template <typename T>
int order(const T& left, const T& right) {
  return left < right ? -1 : right < left ? 1 : 0;
}

}  // namespace

void fail(std::string message) { throw TemplateFailure{std::move(message), false}; }

void Meter::charge(size_t steps) {
  steps_ += static_cast<int64_t>(std::min<size_t>(steps, static_cast<size_t>(kMaxSteps)));
  if (steps_ > kMaxSteps) fail(fmt::format("the template takes more than {} steps", kMaxSteps));
}

void check_text_size(size_t num_bytes) {
  if (num_bytes > kMaxTextBytes) fail(fmt::format("a text is longer than {} bytes", kMaxTextBytes));
}

std::string key_text(const Value& value) {
  // 0xff is in no text, so that no text is equal to another value's key.
  if (const std::string* text = value.string()) return *text;
  if (is_integral(value)) return fmt::format("\xff{}", integral(value));
  if (const double* number = value.get<double>()) {
    const bool whole = *number == std::floor(*number) && std::abs(*number) < 9e15;
    return whole ? fmt::format("\xff{}", static_cast<int64_t>(*number)) : "\xff" + float_repr(*number);
  }
  if (value.is_none()) return "\xffnone";
  if (value.is_undefined()) return "\xffundefined";
  const ListData* list = value.list();
  if (Namespace* const* names = value.get<Namespace*>()) return fmt::format("\xff@{}", fmt::ptr(*names));
  const bool sequence = list && (list->kind == ListKind::tuple || list->kind == ListKind::range);
  if (list && !sequence && (list->kind == ListKind::generator || list->kind == ListKind::dict_values))
    return fmt::format("\xff@{}", fmt::ptr(list));
  if (!sequence) fail(fmt::format("unhashable type: '{}'", type_name(value)));
  std::string out = list->kind == ListKind::tuple ? "\xff(" : "\xffrange(";
  for (const Value& item : list->items) {
    const std::string key = key_text(item);
    out += fmt::format("{}:", key.size());
    out += key;
    if (out.size() > kMaxKeyBytes) fail("a key is too long");
  }
  return out;
}

const Value* DictData::find(std::string_view key) const {
  if (!index.empty()) {
    const auto found = index.find(key);
    return found == index.end() ? nullptr : &items[found->second].second;
  }
  for (const auto& [name, value] : items) {
    if (const std::string* text = name.string(); text && *text == key) return &value;
  }
  return nullptr;
}

const Value* DictData::find(const Value& key) const {
  if (const std::string* text = key.string()) return find(std::string_view(*text));
  const std::string wanted = key_text(key);
  if (!index.empty()) return find(std::string_view(wanted));
  for (const auto& [name, value] : items) {
    if (!name.string() && key_text(name) == wanted) return &value;
  }
  return nullptr;
}

Value make_list(std::vector<Value> items, ListKind kind) {
  if (items.size() > kMaxListItems) fail(fmt::format("a list is longer than {} items", kMaxListItems));
  auto list = std::make_shared<ListData>();
  for (const Value& item : items) list->depth = std::max(list->depth, checked_depth(depth_of(item) + 1));
  list->items = std::move(items);
  list->kind = kind;
  return ListRef(std::move(list));
}

Value make_dict(std::vector<std::pair<Value, Value>> items) {
  auto dict = std::make_shared<DictData>();
  for (auto& [key, value] : items) {
    dict->depth = std::max(dict->depth, checked_depth(depth_of(value) + 1));
    if (const Value* earlier = dict->find(key)) {
      *const_cast<Value*>(earlier) = std::move(value);  // the dict is still ours
      continue;
    }
    dict->items.emplace_back(std::move(key), std::move(value));
    if (dict->items.size() < kIndexedFrom) continue;
    for (size_t i = dict->index.empty() ? 0 : dict->items.size() - 1; i < dict->items.size(); ++i) {
      dict->index.emplace(key_text(dict->items[i].first), i);
    }
  }
  return DictRef(std::move(dict));
}

Value make_text(std::string text, bool markup) {
  Value value(std::move(text));
  return markup ? Value(Markup{*value.get<StringRef>()}) : value;
}

std::string_view type_name(const Value& value) {
  struct Namer {
    std::string_view operator()(const Undefined&) const { return "Undefined"; }
    std::string_view operator()(const None&) const { return "NoneType"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(int64_t) const { return "int"; }
    std::string_view operator()(double) const { return "float"; }
    std::string_view operator()(const StringRef&) const { return "str"; }
    std::string_view operator()(const Markup&) const { return "Markup"; }
    std::string_view operator()(const ListRef& list) const {
      constexpr std::array<std::string_view, 7> kNames = {"list",      "tuple",       "generator", "range",
                                                          "dict_keys", "dict_values", "dict_items"};
      return kNames[static_cast<size_t>(list->kind)];
    }
    std::string_view operator()(const DictRef&) const { return "dict"; }
    std::string_view operator()(Namespace*) const { return "Namespace"; }
    std::string_view operator()(const Macro&) const { return "Macro"; }
    std::string_view operator()(const std::shared_ptr<const LoopState>&) const { return "LoopContext"; }
    std::string_view operator()(Builtin) const { return "function"; }
    std::string_view operator()(const MethodRef&) const { return "method"; }
  };
  return std::visit(Namer(), value.variant());
}

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const bool* flag = value.get<bool>()) return *flag;
  if (const int64_t* number = value.get<int64_t>()) return *number != 0;
  if (const double* number = value.get<double>()) return *number != 0;
  if (const std::string* text = value.string()) return !text->empty();
  if (const ListData* list = value.list()) return list->kind == ListKind::generator || !list->items.empty();
  if (const DictData* dict = value.dict()) return !dict->items.empty();
  return true;
}

bool equal(Meter& meter, const Value& left, const Value& right) {
  meter.charge(1);
  if (is_integral(left) && is_integral(right)) return integral(left) == integral(right);
  if (left.is_number() && right.is_number()) return as_double(left) == as_double(right);
  if (left.string() && right.string()) {
    if (left.string()->size() != right.string()->size()) return false;
    meter.charge_text(left.string()->size());
    return *left.string() == *right.string();
  }
  if (left.list() && right.list()) {
    if (left.list() == right.list()) return true;
    const ListKind kind = left.list()->kind;
    if (kind != right.list()->kind || kind == ListKind::generator || kind == ListKind::dict_values) return false;
    return std::equal(left.list()->items.begin(), left.list()->items.end(), right.list()->items.begin(),
                      right.list()->items.end(), [&](const Value& a, const Value& b) { return equal(meter, a, b); });
  }
  if (left.dict() && right.dict()) {
    if (left.dict() == right.dict()) return true;
    if (left.dict()->items.size() != right.dict()->items.size()) return false;
    return std::all_of(left.dict()->items.begin(), left.dict()->items.end(), [&](const auto& entry) {
      meter.charge(kStepsPerEntry);
      if (const std::string* key = entry.first.string()) meter.charge_text(key->size());
      const Value* other = right.dict()->find(entry.first);
      return other != nullptr && equal(meter, entry.second, *other);
    });
  }
  if (left.is_undefined() || left.is_none()) return left.variant().index() == right.variant().index();
  if (left.get<Namespace*>() && right.get<Namespace*>()) return *left.get<Namespace*>() == *right.get<Namespace*>();
  return false;
}

int compare(Meter& meter, const Value& left, const Value& right) {
  meter.charge(1);
  if (is_integral(left) && is_integral(right)) return order(integral(left), integral(right));
  if (left.is_number() && right.is_number()) {
    const double a = as_double(left);
    const double b = as_double(right);
    return std::isnan(a) || std::isnan(b) ? kUnordered : order(a, b);
  }
  if (left.string() && right.string()) {
    meter.charge_text(std::min(left.string()->size(), right.string()->size()));
    return order(*left.string(), *right.string());
  }
  const bool sequences = left.list() && right.list() && left.list()->kind == right.list()->kind &&
                         left.list()->is_sequence() && left.list()->kind != ListKind::range;
  if (sequences) {
    const auto& a = left.list()->items;
    const auto& b = right.list()->items;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (!equal(meter, a[i], b[i])) return compare(meter, a[i], b[i]);
    }
    return order(a.size(), b.size());
  }
  fail(fmt::format("'{}' and '{}' have no order", type_name(left), type_name(right)));
}

bool contains(Meter& meter, const Value& container, const Value& item) {
  if (const std::string* text = container.string()) {
    if (!item.string()) fail(fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
    meter.charge_text(text->size());
    return find_text(*text, *item.string(), 0) != std::string::npos;
  }
  if (const DictData* dict = container.dict()) return dict->find(item) != nullptr;
  const ListRef items = iterate(meter, container);
  return std::any_of(items->items.begin(), items->items.end(),
                     [&](const Value& value) { return equal(meter, value, item); });
}

double as_double(const Value& value) {
  if (const double* number = value.get<double>()) return *number;
  if (is_integral(value)) return static_cast<double>(integral(value));
  fail(fmt::format("a number is needed, not '{}'", type_name(value)));
}

int64_t as_int(const Value& value, std::string_view what) {
  if (!is_integral(value)) fail(fmt::format("{} must be an integer, not '{}'", what, type_name(value)));
  return integral(value);
}

ListRef iterate(Meter& meter, const Value& value) {
  if (const ListRef* list = value.get<ListRef>()) {
    const ListData& data = **list;
    if (data.kind != ListKind::generator) return *list;
    const size_t taken = std::exchange(data.taken, data.items.size());
    if (taken == 0) return *list;
    auto rest = std::make_shared<ListData>();
    rest->items.assign(data.items.begin() + static_cast<std::ptrdiff_t>(taken), data.items.end());
    meter.charge(rest->items.size());
    return rest;
  }
  auto items = std::make_shared<ListData>();
  if (const DictData* dict = value.dict()) {
    meter.charge(dict->items.size());
    for (const auto& entry : dict->items) items->items.push_back(entry.first);
  } else if (const std::string* text = value.string()) {
    if (text->size() > kMaxListItems * 4) fail(fmt::format("a list is longer than {} items", kMaxListItems));
    meter.charge(text->size() * kStepsPerText);
    for (size_t at = 0; at < text->size();) {
      const size_t length = read_code_point(*text, at).num_bytes;
      items->items.emplace_back(text->substr(at, length));
      at += length;
    }
  } else if (!value.is_undefined()) {
    fail(fmt::format("'{}' object is not iterable", type_name(value)));
  }
  return items;
}

std::optional<Value> first_of(Meter& meter, const Value& value) {
  if (const std::string* text = value.string()) {
    if (text->empty()) return std::nullopt;
    return Value(text->substr(0, read_code_point(*text, 0).num_bytes));
  }
  if (const ListData* list = value.list()) {
    const size_t at = list->kind == ListKind::generator ? list->taken : 0;
    if (at >= list->items.size()) return std::nullopt;
    if (list->kind == ListKind::generator) ++list->taken;
    return list->items[at];
  }
  const ListRef items = iterate(meter, value);
  return items->items.empty() ? std::nullopt : std::optional<Value>(items->items.front());
}

int64_t length_of(const Value& value) {
  if (const std::string* text = value.string()) return static_cast<int64_t>(count_code_points(*text));
  if (const DictData* dict = value.dict()) return static_cast<int64_t>(dict->items.size());
  if (const ListData* list = value.list(); list && list->kind != ListKind::generator) {
    return static_cast<int64_t>(list->items.size());
  }
  if (value.is_undefined()) return 0;
  fail(fmt::format("object of type '{}' has no len()", type_name(value)));
}

}  // namespace echelon::templates
