// Values of the template language: what Python's are, as far as chat templates use them. Strings are UTF-8; lists and
// dicts never change once made, so values share them. A Value lives no longer than the render that made it. Internal to
// this folder; chat_template.h is the public face.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/merger.h"

namespace echelon::templates {

class Value;
struct MacroNode;
struct Namespace;
struct LoopState;

inline constexpr int kMaxValueDepth = 100;  ///< lists in lists, dicts in dicts

/// What ends a render. `raised`: the template itself called raise_exception.
struct TemplateFailure {
  std::string message;
  bool raised = false;
};
[[noreturn]] void fail(std::string message);

struct Undefined {
  std::shared_ptr<const std::string> message;  ///< "'x' is undefined"
};
struct None {};
using StringRef = std::shared_ptr<const std::string>;
struct ListData;
struct DictData;
using ListRef = std::shared_ptr<const ListData>;
using DictRef = std::shared_ptr<const DictData>;

/// A function of the language.
enum class Builtin { range, namespace_, dict, raise_exception, strftime_now };
/// "text".strip without its call.
struct BoundMethod {
  std::shared_ptr<const Value> object;
  std::string name;
};

class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, StringRef, ListRef, DictRef, Namespace*,
                               const MacroNode*, std::shared_ptr<const LoopState>, Builtin, BoundMethod>;
  Value() : data_(None{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(ListRef list) : data_(std::move(list)) {}
  Value(DictRef dict) : data_(std::move(dict)) {}
  Value(Namespace* names) : data_(names) {}
  Value(const MacroNode* macro) : data_(macro) {}
  Value(std::shared_ptr<const LoopState> loop) : data_(std::move(loop)) {}
  Value(Builtin function) : data_(function) {}
  Value(BoundMethod method) : data_(std::move(method)) {}

  template <typename T>
  const T* get() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
  const std::string* string() const { return get<StringRef>() ? get<StringRef>()->get() : nullptr; }
  const ListData* list() const { return get<ListRef>() ? get<ListRef>()->get() : nullptr; }
  const DictData* dict() const { return get<DictRef>() ? get<DictRef>()->get() : nullptr; }
  /// bool, int or float.
  bool is_number() const { return get<bool>() || get<int64_t>() || get<double>(); }
  const Variant& variant() const { return data_; }

 private:
  Variant data_;
};

enum class ListKind { list, tuple, generator };

struct ListData {
  std::vector<Value> items;
  ListKind kind = ListKind::list;
  int depth = 1;
};

/// In order of insertion, as Python's; look-ups of strings are O(1) once there are many entries.
struct DictData {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, size_t, TextHash, std::equal_to<>> index;  ///< string keys; empty when there are few
  int depth = 1;
  /// nullptr when there is no such key.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

struct LoopState {
  ListRef items;
  size_t index = 0;
};

/// Fail when the result would be deeper than kMaxValueDepth.
Value make_list(std::vector<Value> items, ListKind kind = ListKind::list);
Value make_dict(
    std::vector<std::pair<Value, Value>> items);  ///< a later equal key replaces the value of the earlier one

/// Python's type(x).__name__, for messages.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
bool equal(const Value& left, const Value& right);
/// Negative, 0 or positive; fails for values that Python does not order.
int compare(const Value& left, const Value& right);
bool contains(const Value& container, const Value& item);
/// The value of a number as float64; fails for others.
double as_double(const Value& value);
/// The value of an int or bool; fails for others, naming `what`.
int64_t as_int(const Value& value, std::string_view what);

/// str(x); Undefined is empty.
std::string to_text(const Value& value);
/// repr(x).
void append_repr(std::string& out, const Value& value);
/// Shortest decimal that reads back, written as Python does: 1.0, 1e+16, 0.0001.
std::string float_repr(double value);

struct JsonStyle {
  bool ascii_only = false;
  bool sort_keys = false;
  std::string indent;  ///< one level; empty and !multiline: everything on one line
  bool multiline = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// json.dumps(x).
std::string to_json(const Value& value, const JsonStyle& style);

/// The items a for loop walks over: list, keys of a dict, characters of a string, nothing for Undefined.
ListRef iterate(const Value& value);
int64_t length_of(const Value& value);

}  // namespace echelon::templates
