// Global functions, the loop variable, and the methods of strings, dicts and lists.
// A method that would change its object does not exist: transformers runs templates in an immutable sandbox.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "engine/text/template_evaluator.h"
#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

constexpr std::string_view kStringMethods[] = {
    "strip",    "lstrip",  "rstrip",  "split",        "rsplit",       "splitlines", "startswith",
    "endswith", "upper",   "lower",   "title",        "capitalize",   "replace",    "find",
    "rfind",    "index",   "count",   "join",         "isdigit",      "isalpha",    "isalnum",
    "isspace",  "isupper", "islower", "removeprefix", "removesuffix", "partition"};
constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get"};
constexpr std::string_view kListMethods[] = {"index", "count"};
constexpr size_t kMaxDateBytes = 4096;

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const std::string& text_argument(const Arguments& arguments, size_t position, std::string_view name) {
  const Value& value = arguments.need(position, name);
  if (!value.string()) fail(fmt::format("{} must be str, not {}", name, type_name(value)));
  return *value.string();
}

int64_t int_argument(const Arguments& arguments, size_t position, std::string_view name, int64_t absent) {
  const Value* value = arguments.find(position, name);
  return value ? as_int(*value, name) : absent;
}

bool is_cased_as(const std::string& text, bool upper) {
  const std::string folded = upper ? unicode::to_upper(text) : unicode::to_lower(text);
  return folded == text && (upper ? unicode::to_lower(text) : unicode::to_upper(text)) != text;
}

template <typename Predicate>
bool all_points(const std::string& text, Predicate holds) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    if (!holds(point.value)) return false;
    at += point.num_bytes;
  }
  return !text.empty();
}

bool affix(const std::string& text, const Arguments& arguments, bool start) {
  const Value& wanted = arguments.need(0, "prefix");
  const auto matches = [&](const Value& value) {
    if (!value.string())
      fail(fmt::format("{} first arg must be str or a tuple of str", start ? "startswith" : "endswith"));
    return start ? text.starts_with(*value.string()) : text.ends_with(*value.string());
  };
  if (!wanted.list()) return matches(wanted);
  const auto& items = wanted.list()->items;
  return std::any_of(items.begin(), items.end(), matches);
}

std::vector<Value> split_spaces(const std::string& text, int64_t limit) {
  std::vector<Value> parts;
  size_t begin = std::string::npos;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const bool space = unicode::is_python_space(point.value);
    if (!space && begin == std::string::npos) {
      if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
        parts.emplace_back(strip(text.substr(at), nullptr, false, true));
        return parts;
      }
      begin = at;
    } else if (space && begin != std::string::npos) {
      parts.emplace_back(text.substr(begin, at - begin));
      begin = std::string::npos;
    }
    at += point.num_bytes;
  }
  if (begin != std::string::npos) parts.emplace_back(text.substr(begin));
  return parts;
}

Value split(const std::string& text, const Arguments& arguments, bool from_right) {
  const int64_t limit = int_argument(arguments, 1, "maxsplit", -1);
  const Value* separator = arguments.find(0, "sep");
  if (separator == nullptr || separator->is_none()) {
    if (from_right && limit >= 0) fail("rsplit with maxsplit needs a separator");
    return make_list(split_spaces(text, limit));
  }
  const std::string& sep = text_argument(arguments, 0, "sep");
  if (sep.empty()) fail("empty separator");
  std::vector<Value> parts;
  if (from_right) {
    size_t end = text.size();
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
      const size_t found = end < sep.size() ? std::string::npos : text.rfind(sep, end - sep.size());
      if (found == std::string::npos) break;
      parts.emplace_back(text.substr(found + sep.size(), end - found - sep.size()));
      end = found;
    }
    parts.emplace_back(text.substr(0, end));
    std::reverse(parts.begin(), parts.end());
    return make_list(std::move(parts));
  }
  size_t begin = 0;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t found = text.find(sep, begin);
    if (found == std::string::npos) break;
    parts.emplace_back(text.substr(begin, found - begin));
    begin = found + sep.size();
  }
  parts.emplace_back(text.substr(begin));
  return make_list(std::move(parts));
}

int64_t count_of(const std::string& text, const std::string& part) {
  if (part.empty()) return static_cast<int64_t>(count_code_points(text)) + 1;
  int64_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

Value find_in(const std::string& text, const std::string& part, bool last, bool must) {
  const size_t at = last ? text.rfind(part) : text.find(part);
  if (at == std::string::npos && must) fail("substring not found");
  if (at == std::string::npos) return int64_t{-1};
  return static_cast<int64_t>(count_code_points(std::string_view(text).substr(0, at)));
}

Value join(Evaluator& evaluator, const std::string& separator, const Value& items) {
  std::string out;
  bool first = true;
  const ListRef values = iterate(items);
  for (const Value& part : values->items) {
    if (!part.string()) fail(fmt::format("sequence item: expected str instance, {} found", type_name(part)));
    if (!first) out += separator;
    out += *part.string();
    first = false;
    if (out.size() > kMaxTextBytes) break;
  }
  return evaluator.charged(std::move(out));
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

void Arguments::check(std::string_view function, size_t max_positional,
                      std::initializer_list<std::string_view> names) const {
  if (positional.size() > max_positional) fail(fmt::format("{} takes at most {} arguments", function, max_positional));
  for (const auto& [name, value] : named) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      fail(fmt::format("{} got an unexpected keyword argument '{}'", function, name));
    }
  }
}

bool has_method(const Value& object, std::string_view name) {
  if (object.string()) return is_one_of(kStringMethods, name);
  if (object.dict()) return is_one_of(kDictMethods, name);
  if (object.list()) return is_one_of(kListMethods, name);
  return false;
}

Value call_string_method(Evaluator& evaluator, const std::string& text, std::string_view name,
                         const Arguments& arguments) {
  evaluator.charge(1 + text.size() / kCharsPerStep);
  if (name == "strip") return strip(text, arguments.find(0, "chars"), true, true);
  if (name == "lstrip") return strip(text, arguments.find(0, "chars"), true, false);
  if (name == "rstrip") return strip(text, arguments.find(0, "chars"), false, true);
  if (name == "split") return split(text, arguments, false);
  if (name == "rsplit") return split(text, arguments, true);
  if (name == "startswith") return affix(text, arguments, true);
  if (name == "endswith") return affix(text, arguments, false);
  if (name == "upper") return unicode::to_upper(text);
  if (name == "lower") return unicode::to_lower(text);
  if (name == "title") return title(text);
  if (name == "capitalize") return capitalize(text);
  if (name == "find") return find_in(text, text_argument(arguments, 0, "sub"), false, false);
  if (name == "rfind") return find_in(text, text_argument(arguments, 0, "sub"), true, false);
  if (name == "index") return find_in(text, text_argument(arguments, 0, "sub"), false, true);
  if (name == "count") return count_of(text, text_argument(arguments, 0, "sub"));
  if (name == "join") return join(evaluator, text, arguments.need(0, "iterable"));
  if (name == "isdigit") return all_points(text, unicode::is_number);
  if (name == "isalpha") return all_points(text, unicode::is_letter);
  if (name == "isspace") return all_points(text, unicode::is_python_space);
  if (name == "isupper") return is_cased_as(text, true);
  if (name == "islower") return is_cased_as(text, false);
  if (name == "isalnum") {
    return all_points(text, [](char32_t point) { return unicode::is_letter(point) || unicode::is_number(point); });
  }
  if (name == "replace") {
    return replace_text(evaluator, text, text_argument(arguments, 0, "old"), text_argument(arguments, 1, "new"),
                        int_argument(arguments, 2, "count", -1));
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string& part = text_argument(arguments, 0, "part");
    if (name == "removeprefix") return text.starts_with(part) ? text.substr(part.size()) : text;
    return text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text;
  }
  if (name == "partition") {
    const std::string& sep = text_argument(arguments, 0, "sep");
    if (sep.empty()) fail("empty separator");
    const size_t at = text.find(sep);
    const bool found = at != std::string::npos;
    return make_list(
        {Value(text.substr(0, at)), Value(found ? sep : ""), Value(found ? text.substr(at + sep.size()) : "")},
        ListKind::tuple);
  }
  std::vector<Value> lines;
  for (std::string& line : split_lines(text)) lines.emplace_back(std::move(line));
  return make_list(std::move(lines));
}

Value call_container_method(const Value& object, std::string_view name, const Arguments& arguments) {
  if (const DictData* dict = object.dict()) {
    if (name == "get") {
      const Value* found = dict->find(arguments.need(0, "key"));
      if (found != nullptr) return *found;
      const Value* absent = arguments.find(1, "default");
      return absent ? *absent : Value();
    }
    std::vector<Value> items;
    for (const auto& [key, value] : dict->items) {
      items.push_back(name == "keys" ? key : name == "values" ? value : make_list({key, value}, ListKind::tuple));
    }
    return make_list(std::move(items));
  }
  const auto& items = object.list()->items;
  const Value& wanted = arguments.need(0, "value");
  const auto same = [&](const Value& value) { return equal(value, wanted); };
  if (name == "count") return static_cast<int64_t>(std::count_if(items.begin(), items.end(), same));
  const auto found = std::find_if(items.begin(), items.end(), same);
  if (found == items.end()) fail("the value is not in the list");
  return static_cast<int64_t>(found - items.begin());
}

Value Evaluator::call_method(const Value& object, const std::string& name, const Arguments& arguments) {
  if (const std::string* text = object.string()) return call_string_method(*this, *text, name, arguments);
  if (const ListData* list = object.list()) charge(list->items.size());
  if (const DictData* dict = object.dict(); dict && name != "get") charge(dict->items.size());
  if (object.dict() || object.list()) return call_container_method(object, name, arguments);
  const auto* loop = object.get<std::shared_ptr<const LoopState>>();
  if (loop == nullptr || arguments.positional.empty()) fail(fmt::format("'{}' cannot be called here", name));
  return arguments.positional[(*loop)->index % arguments.positional.size()];  // loop.cycle
}

Value Evaluator::loop_attribute(const LoopState& loop, std::string_view name) {
  const auto& items = loop.items->items;
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(items.size());
  const auto neighbour = [&](bool there, int64_t place) -> Value {
    if (there) return items[static_cast<size_t>(place)];
    return Undefined{std::make_shared<const std::string>(fmt::format("there is no {} item", name))};
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
  if (name == "cycle") {
    return BoundMethod{std::make_shared<const Value>(std::make_shared<const LoopState>(loop)), std::string(name)};
  }
  return Undefined{std::make_shared<const std::string>(fmt::format("loop has no attribute '{}'", name))};
}

Value Evaluator::call_builtin(Builtin function, const Arguments& arguments) {
  switch (function) {
    case Builtin::raise_exception: {
      throw TemplateFailure{to_text(arguments.need(0, "message")), true};
    }
    case Builtin::strftime_now: {
      const std::string& format = text_argument(arguments, 0, "format");
      if (format.size() > 256) fail("the format of strftime_now is longer than 256 bytes");
      char buffer[kMaxDateBytes];
      const size_t length = std::strftime(buffer, sizeof buffer, format.c_str(), &now_);
      return std::string(buffer, length);
    }
    case Builtin::range: {
      arguments.check("range", 3, {});
      if (arguments.positional.empty()) fail("range expected at least 1 argument, got 0");
      const bool one = arguments.positional.size() == 1;
      const int64_t begin = one ? 0 : as_int(arguments.positional[0], "range's start");
      const int64_t end = as_int(arguments.positional[one ? 0 : 1], "range's end");
      const int64_t step = arguments.positional.size() == 3 ? as_int(arguments.positional[2], "range's step") : 1;
      if (step == 0) fail("range() arg 3 must not be zero");
      std::vector<Value> items;
      for (int64_t i = begin; step > 0 ? i < end : i > end;) {
        if (static_cast<int64_t>(items.size()) == kMaxRange)
          fail(fmt::format("range is longer than {} items", kMaxRange));
        charge(1);
        items.emplace_back(i);
        if (__builtin_add_overflow(i, step, &i)) break;
      }
      return make_list(std::move(items));
    }
    case Builtin::namespace_:
    case Builtin::dict: {
      std::vector<std::pair<Value, Value>> items;
      if (const Value* from = arguments.find(0, "")) {
        if (!from->dict()) fail(fmt::format("a dict is needed, not '{}'", type_name(*from)));
        items = from->dict()->items;
      }
      for (const auto& [name, value] : arguments.named) items.emplace_back(Value(name), value);
      charge(items.size());
      if (function == Builtin::dict) return make_dict(std::move(items));
      Namespace& names = namespaces_.emplace_back();
      for (auto& [name, value] : items) names.attributes.emplace_back(to_text(name), std::move(value));
      return &names;
    }
  }
  return Value();
}

}  // namespace echelon::templates
