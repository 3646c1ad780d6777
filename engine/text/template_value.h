// Values of the template language: what Python's are, as far as chat templates use them. Strings are UTF-8; lists and
// dicts never change once made, so values share them. A Value lives no longer than the render that made it. Internal to
// this folder; chat_template.h is the public face.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
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

inline constexpr int kMaxValueDepth = 100;        ///< lists in lists, dicts in dicts
inline constexpr int64_t kMaxSteps = 10'000'000;  ///< nodes walked, items made or compared, and text by its length
inline constexpr size_t kCharsPerStep = 16;       ///< of text that is copied or searched
inline constexpr size_t kPointsPerStep = 2;       ///< of text that is read a code point at a time
inline constexpr size_t kStepsPerText = 4;        ///< an item that is a new text
inline constexpr size_t kStepsPerEntry = 8;       ///< of a dict that is looked up or made
inline constexpr size_t kMaxTextBytes = size_t{1} << 25;  ///< of one string, and of the output
inline constexpr size_t kMaxListItems = 1'000'000;
inline constexpr size_t kMaxKeyBytes = size_t{1} << 16;  ///< of a tuple that is a dict's key, spelled out

/// What ends a render. `raised`: the template itself called raise_exception.
struct TemplateFailure {
  std::string message;
  bool raised = false;
};
[[noreturn]] void fail(std::string message);

/// Counts the work of one render, and ends it when it is too much: everything whose cost depends on its input is told
/// here before it is done.
class Meter {
 public:
  /// Fails at kMaxSteps.
  void charge(size_t steps);
  void charge_text(size_t num_bytes) { charge(1 + num_bytes / kCharsPerStep); }
  /// For work on every code point, such as case.
  void charge_points(size_t num_bytes) { charge(1 + num_bytes / kPointsPerStep); }

 private:
  int64_t steps_ = 0;
};

/// Fails when a text would have more than kMaxTextBytes.
void check_text_size(size_t num_bytes);

struct Undefined {
  std::shared_ptr<const std::string> message;  ///< "'x' is undefined"
};
struct None {};
using StringRef = std::shared_ptr<const std::string>;
/// A text that counts as HTML (markupsafe.Markup), from the filters safe and escape: what is added to it is escaped.
struct Markup {
  StringRef text;
};
struct ListData;
struct DictData;
using ListRef = std::shared_ptr<const ListData>;
using DictRef = std::shared_ptr<const DictData>;

/// A function of the language.
enum class Builtin { range, namespace_, dict, raise_exception, strftime_now };
/// A macro and the scope it was written in, which it sees while that is still open.
struct Macro {
  const MacroNode* node = nullptr;
  int64_t scope = 0;
};
/// "text".strip without its call.
struct BoundMethod;
using MethodRef = std::shared_ptr<const BoundMethod>;

class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, StringRef, Markup, ListRef, DictRef, Namespace*,
                               Macro, std::shared_ptr<const LoopState>, Builtin, MethodRef>;
  Value() : data_(None{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Markup markup) : data_(std::move(markup)) {}
  Value(ListRef list) : data_(std::move(list)) {}
  Value(DictRef dict) : data_(std::move(dict)) {}
  Value(Namespace* names) : data_(names) {}
  Value(Macro macro) : data_(macro) {}
  Value(std::shared_ptr<const LoopState> loop) : data_(std::move(loop)) {}
  Value(Builtin function) : data_(function) {}
  Value(MethodRef method) : data_(std::move(method)) {}

  template <typename T>
  const T* get() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
  /// A text, markup or not; nullptr for other values.
  const std::string* string() const {
    if (const StringRef* text = get<StringRef>()) return text->get();
    return is_markup() ? get<Markup>()->text.get() : nullptr;
  }
  bool is_markup() const { return get<Markup>() != nullptr; }
  const ListData* list() const { return get<ListRef>() ? get<ListRef>()->get() : nullptr; }
  const DictData* dict() const { return get<DictRef>() ? get<DictRef>()->get() : nullptr; }
  /// bool, int or float.
  bool is_number() const { return get<bool>() || get<int64_t>() || get<double>(); }
  const Variant& variant() const { return data_; }

 private:
  Variant data_;
};

struct BoundMethod {
  Value object;
  std::string name;
};

/// What Python has as types of their own: they differ in what they print, in what they equal and in what reads them.
enum class ListKind { list, tuple, generator, range, dict_keys, dict_values, dict_items };

struct ListData {
  std::vector<Value> items;
  ListKind kind = ListKind::list;
  int depth = 1;
  std::array<int64_t, 3> range{};  ///< start, stop and step of a range
  mutable size_t taken = 0;        ///< of a generator: items that were read; it gives each once
  bool is_sequence() const { return kind == ListKind::list || kind == ListKind::tuple || kind == ListKind::range; }
};

/// In order of insertion, as Python's; look-ups are O(1) once there are many entries.
struct DictData {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, size_t, TextHash, std::equal_to<>> index;  ///< of key_text; empty when there are few
  int depth = 1;
  /// nullptr when there is no such key; fails for a key that cannot be one.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  mutable int printing = 0;  ///< how often it is being written just now, inside itself
};

struct LoopState {
  ListRef items;
  size_t index = 0;
  mutable ListRef last_changed;  ///< what loop.changed was told last
};

/// Fail when the result would be deeper than kMaxValueDepth or longer than kMaxListItems.
Value make_list(std::vector<Value> items, ListKind kind = ListKind::list);
/// A later equal key replaces the value of the earlier one. Fails for keys that Python cannot hash.
Value make_dict(std::vector<std::pair<Value, Value>> items);
Value make_text(std::string text, bool markup);
/// What two keys share when they are equal and only then; a string is its own. Fails for values that Python cannot
/// hash.
std::string key_text(const Value& value);

/// Python's type(x).__name__, for messages.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
bool equal(Meter& meter, const Value& left, const Value& right);
/// Negative, 0 or positive; unordered (NaN): 2. Fails for values that Python does not order.
int compare(Meter& meter, const Value& left, const Value& right);
inline constexpr int kUnordered = 2;
bool contains(Meter& meter, const Value& container, const Value& item);
/// The value of a number as float64; fails for others.
double as_double(const Value& value);
/// The value of an int or bool; fails for others, naming `what`.
int64_t as_int(const Value& value, std::string_view what);

/// str(x); Undefined is empty.
std::string to_text(Meter& meter, const Value& value);
/// repr(x).
void append_repr(Meter& meter, std::string& out, const Value& value);
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
std::string to_json(Meter& meter, const Value& value, const JsonStyle& style);

/// The items a for loop walks over: list, keys of a dict, characters of a string, nothing for Undefined. A generator is
/// used up.
ListRef iterate(Meter& meter, const Value& value);
/// The first of them, or nullopt.
std::optional<Value> first_of(Meter& meter, const Value& value);
int64_t length_of(const Value& value);

}  // namespace echelon::templates
