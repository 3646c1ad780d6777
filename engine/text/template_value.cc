// Values of the template language: making them, truth, equality, order, iteration.
// Each rule is Python's for the same types.
#include "engine/text/template_value.h"

#include <fmt/format.h>

#include <algorithm>

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
  for (const auto& [name, value] : items) {
    if (equal(name, key)) return &value;
  }
  return nullptr;
}

Value make_list(std::vector<Value> items, ListKind kind) {
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
      if (const std::string* text = dict->items[i].first.string()) dict->index.emplace(*text, i);
    }
  }
  return DictRef(std::move(dict));
}

std::string_view type_name(const Value& value) {
  struct Namer {
    std::string_view operator()(const Undefined&) const { return "Undefined"; }
    std::string_view operator()(const None&) const { return "NoneType"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(int64_t) const { return "int"; }
    std::string_view operator()(double) const { return "float"; }
    std::string_view operator()(const StringRef&) const { return "str"; }
    std::string_view operator()(const ListRef& list) const {
      return list->kind == ListKind::list ? "list" : list->kind == ListKind::tuple ? "tuple" : "generator";
    }
    std::string_view operator()(const DictRef&) const { return "dict"; }
    std::string_view operator()(Namespace*) const { return "Namespace"; }
    std::string_view operator()(const MacroNode*) const { return "Macro"; }
    std::string_view operator()(const std::shared_ptr<const LoopState>&) const { return "LoopContext"; }
    std::string_view operator()(Builtin) const { return "function"; }
    std::string_view operator()(const BoundMethod&) const { return "method"; }
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

bool equal(const Value& left, const Value& right) {
  if (is_integral(left) && is_integral(right)) return integral(left) == integral(right);
  if (left.is_number() && right.is_number()) return as_double(left) == as_double(right);
  if (left.string() && right.string()) return *left.string() == *right.string();
  if (left.list() && right.list()) {
    if (left.list() == right.list()) return true;
    return left.list()->kind == right.list()->kind &&
           std::equal(left.list()->items.begin(), left.list()->items.end(), right.list()->items.begin(),
                      right.list()->items.end(), [](const Value& a, const Value& b) { return equal(a, b); });
  }
  if (left.dict() && right.dict()) {
    if (left.dict()->items.size() != right.dict()->items.size()) return false;
    return std::all_of(left.dict()->items.begin(), left.dict()->items.end(), [&](const auto& entry) {
      const Value* other = right.dict()->find(entry.first);
      return other != nullptr && equal(entry.second, *other);
    });
  }
  if (left.is_undefined() || left.is_none()) return left.variant().index() == right.variant().index();
  if (left.get<Namespace*>() && right.get<Namespace*>()) return *left.get<Namespace*>() == *right.get<Namespace*>();
  return false;
}

int compare(const Value& left, const Value& right) {
  if (is_integral(left) && is_integral(right)) return order(integral(left), integral(right));
  if (left.is_number() && right.is_number()) return order(as_double(left), as_double(right));
  if (left.string() && right.string()) return order(*left.string(), *right.string());
  if (left.list() && right.list() && left.list()->kind == right.list()->kind) {
    const auto& a = left.list()->items;
    const auto& b = right.list()->items;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (!equal(a[i], b[i])) return compare(a[i], b[i]);
    }
    return order(a.size(), b.size());
  }
  fail(fmt::format("'{}' and '{}' have no order", type_name(left), type_name(right)));
}

bool contains(const Value& container, const Value& item) {
  if (const std::string* text = container.string()) {
    if (!item.string()) fail(fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
    return text->find(*item.string()) != std::string::npos;
  }
  if (const DictData* dict = container.dict()) return dict->find(item) != nullptr;
  const ListRef items = iterate(container);
  return std::any_of(items->items.begin(), items->items.end(), [&](const Value& value) { return equal(value, item); });
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

ListRef iterate(const Value& value) {
  if (const ListRef* list = value.get<ListRef>()) return *list;
  auto items = std::make_shared<ListData>();
  if (const DictData* dict = value.dict()) {
    for (const auto& entry : dict->items) items->items.push_back(entry.first);
  } else if (const std::string* text = value.string()) {
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
