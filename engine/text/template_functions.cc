// Global functions, the loop variable, and the methods of dicts and lists; those of strings: template_methods.cc.
// A method that would change its object does not exist: transformers runs templates in an immutable sandbox.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "engine/text/template_evaluator.h"

namespace echelon::templates {

namespace {

constexpr std::string_view kDictMethods[] = {"copy", "get", "items", "keys", "values"};
constexpr std::string_view kListMethods[] = {"copy", "count", "index"};
constexpr std::string_view kTupleMethods[] = {"count", "index"};
constexpr std::string_view kForbiddenOfDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kForbiddenOfList[] = {"append", "clear",  "extend",  "insert",
                                                 "pop",    "remove", "reverse", "sort"};
constexpr size_t kMaxDateBytes = 4096;

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Python's datetime.strftime of a time without zone: %f, %z and %Z are its own.
std::string format_time(const std::string& format, std::tm time) {
  if (format.size() > 256) fail("the format of strftime_now is longer than 256 bytes");
  std::string prepared;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (next == 'f' || next == 'z' || next == 'Z') {
      prepared += next == 'f' ? "000000" : "";
      ++i;
    } else {
      prepared += format[i];
      if (next == '%') prepared += format[++i];
    }
  }
  char buffer[kMaxDateBytes];
  return std::string(buffer, std::strftime(buffer, sizeof buffer, prepared.c_str(), &time));
}

Value make_range(Meter& meter, const Arguments& arguments) {
  arguments.check_count("range", 1, 3);
  const bool one = arguments.positional.size() == 1;
  const int64_t begin = one ? 0 : as_int(arguments.positional[0], "range's start");
  const int64_t end = as_int(arguments.positional[one ? 0 : 1], "range's end");
  const int64_t step = arguments.positional.size() == 3 ? as_int(arguments.positional[2], "range's step") : 1;
  if (step == 0) fail("range() arg 3 must not be zero");
  auto list = std::make_shared<ListData>();
  list->kind = ListKind::range;
  list->range = {begin, end, step};
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(list->items.size()) == kMaxRange)
      fail(fmt::format("range is longer than {} items", kMaxRange));
    meter.charge(1);
    list->items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return ListRef(std::move(list));
}

/// The entries of dict(...) and namespace(...): of a dict or of pairs, then those by name.
std::vector<std::pair<Value, Value>> entries_of(Meter& meter, const Arguments& arguments) {
  if (arguments.positional.size() > 1) fail("dict expected at most 1 argument");
  std::vector<std::pair<Value, Value>> items;
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.dict()) {
      items = from.dict()->items;
    } else {
      const ListRef pairs = iterate(meter, from);
      for (const Value& pair : pairs->items) {
        meter.charge(kStepsPerEntry);
        const ListRef both = iterate(meter, pair);
        if (both->items.size() != 2) fail("dictionary update sequence element must have length 2");
        items.emplace_back(both->items[0], both->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) items.emplace_back(Value(name), value);
  meter.charge(items.size() * kStepsPerEntry);
  return items;
}

}  // namespace

const Value* Arguments::find(size_t position, std::string_view name) const {
  if (position < positional.size()) return &positional[position];
  for (const auto& [known, value] : named) {
    if (known == name) return &value;
  }
  return nullptr;
}

const Value& Arguments::need(size_t position, std::string_view name) const {
  const Value* value = find(position, name);
  if (value == nullptr) fail(fmt::format("missing argument '{}'", name));
  return *value;
}

void Arguments::check(std::string_view function, std::span<const std::string_view> parameters) const {
  const auto known = std::find(parameters.begin(), parameters.end(), std::string_view());  // the rest is unused
  const auto most = static_cast<size_t>(known - parameters.begin());
  if (positional.size() > most) fail(fmt::format("{} takes at most {} arguments", function, most));
  for (const auto& [name, value] : named) {
    const auto found = std::find(parameters.begin(), known, name);
    if (found == known) fail(fmt::format("{} got an unexpected keyword argument '{}'", function, name));
    if (static_cast<size_t>(found - parameters.begin()) < positional.size()) {
      fail(fmt::format("{} got multiple values for argument '{}'", function, name));
    }
  }
}

void Arguments::check_count(std::string_view function, size_t least, size_t most) const {
  if (!named.empty()) fail(fmt::format("{} takes no keyword arguments", function));
  if (positional.size() < least || positional.size() > most) {
    fail(fmt::format("{} takes {} to {} arguments, not {}", function, least, most, positional.size()));
  }
}

bool has_method(const Value& object, std::string_view name) {
  if (object.string()) return has_string_method(name);
  if (object.dict()) return is_one_of(kDictMethods, name);
  if (!object.list() || !object.list()->is_sequence()) return false;
  return object.list()->kind == ListKind::list ? is_one_of(kListMethods, name) : is_one_of(kTupleMethods, name);
}

bool is_forbidden_method(const Value& object, std::string_view name) {
  if (object.dict()) return is_one_of(kForbiddenOfDict, name);
  return object.list() && object.list()->kind == ListKind::list && is_one_of(kForbiddenOfList, name);
}

Value call_container_method(Evaluator& evaluator, const Value& object, std::string_view name,
                            const Arguments& arguments) {
  if (const DictData* dict = object.dict()) {
    arguments.check_count(name, name == "get" ? 1 : 0, name == "get" ? 2 : 0);
    if (name == "get") {
      const Value* found = dict->find(arguments.positional[0]);
      if (found != nullptr) return *found;
      return arguments.positional.size() > 1 ? arguments.positional[1] : Value();
    }
    if (name == "copy") return object;  // nothing can change either of them
    evaluator.charge(dict->items.size() * (name == "items" ? kStepsPerText : 1));
    std::vector<Value> items;
    for (const auto& [key, value] : dict->items) {
      items.push_back(name == "keys" ? key : name == "values" ? value : make_list({key, value}, ListKind::tuple));
    }
    return make_list(std::move(items), name == "keys"     ? ListKind::dict_keys
                                       : name == "values" ? ListKind::dict_values
                                                          : ListKind::dict_items);
  }
  const auto& items = object.list()->items;
  evaluator.charge(items.size());
  arguments.check_count(name, name == "copy" ? 0 : 1, name == "copy" ? 0 : 1);
  if (name == "copy") return make_list(items);
  const Value& wanted = arguments.positional[0];
  const auto same = [&](const Value& value) { return equal(evaluator.meter(), value, wanted); };
  if (name == "count") return static_cast<int64_t>(std::count_if(items.begin(), items.end(), same));
  const auto found = std::find_if(items.begin(), items.end(), same);
  if (found == items.end()) fail("the value is not in the list");
  return static_cast<int64_t>(found - items.begin());
}

Value Evaluator::call_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (object.string()) return call_string_method(*this, object, name, arguments);
  if (object.dict() || object.list()) return call_container_method(*this, object, name, arguments);
  const auto* loop = object.get<std::shared_ptr<const LoopState>>();
  if (loop == nullptr || !arguments.named.empty()) fail(fmt::format("'{}' cannot be called here", name));
  if (name == "changed") {
    const Value told = make_list(arguments.positional, ListKind::tuple);
    const bool same = (*loop)->last_changed && equal(meter_, Value((*loop)->last_changed), told);
    if (!same) (*loop)->last_changed = *told.get<ListRef>();
    return !same;
  }
  if (arguments.positional.empty()) fail("no items for cycling given");
  return arguments.positional[(*loop)->index % arguments.positional.size()];
}

Value Evaluator::loop_attribute(const std::shared_ptr<const LoopState>& loop_ref, std::string_view name) {
  const LoopState& loop = *loop_ref;
  const auto& items = loop.items->items;
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(items.size());
  const auto neighbour = [&](bool there, int64_t place) -> Value {
    if (there) return items[static_cast<size_t>(place)];
    return make_undefined(fmt::format("there is no {} item", name));
  };
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "depth") return int64_t{1};  // counts recursive loops, which there are none of
  if (name == "depth0") return int64_t{0};
  if (name == "previtem") return neighbour(index > 0, index - 1);
  if (name == "nextitem") return neighbour(index + 1 < length, index + 1);
  if (name == "cycle" || name == "changed") {
    return std::make_shared<const BoundMethod>(BoundMethod{Value(loop_ref), std::string(name)});
  }
  return make_undefined(fmt::format("loop has no attribute '{}'", name));
}

Value Evaluator::call_builtin(Builtin function, const Arguments& arguments) {
  switch (function) {
    case Builtin::raise_exception: {
      arguments.check("raise_exception", std::array{std::string_view("message")});
      throw TemplateFailure{text_of(arguments.need(0, "message")), true};
    }
    case Builtin::strftime_now: {
      return format_time(text_argument(arguments, 0, "format"), now_);
    }
    case Builtin::range:
      return make_range(meter_, arguments);
    case Builtin::namespace_:
    case Builtin::dict: {
      std::vector<std::pair<Value, Value>> items = entries_of(meter_, arguments);
      if (function == Builtin::dict) return make_dict(std::move(items));
      Namespace& names = namespaces_.emplace_back();
      const Value distinct = make_dict(std::move(items));
      for (const auto& [name, value] : distinct.dict()->items) {
        names.attributes.emplace_back(text_of(name), value);
      }
      return &names;
    }
  }
  return Value();
}

}  // namespace echelon::templates
