// The methods of strings. A method of markup gives markup, and escapes what it puts in (markupsafe.Markup).
// Adding one: a function below, and a line in kMethods.
#include <fmt/format.h>

#include <algorithm>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_strings.h"
#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

using Method = Value (*)(Evaluator&, const Value& self, const Arguments&);

const std::string& text_of_self(const Value& self) { return *self.string(); }

/// An index, or None for what is absent.
int64_t bound_argument(const Arguments& arguments, size_t position, int64_t absent) {
  const Value* value = arguments.find(position, "");
  return value && !value->is_none() ? as_int(*value, "slice indices") : absent;
}

/// Where a search with bounds looks: the part of the text, and how many code points are before it.
struct Searched {
  std::string_view part;
  int64_t before = 0;
  bool beyond = false;  ///< the begin is after the text's end: not even "" is found
};

Searched searched(const std::string& text, const Arguments& arguments) {
  const int64_t begin = bound_argument(arguments, 1, 0);
  const int64_t end = bound_argument(arguments, 2, INT64_MAX);
  if (begin == 0 && end == INT64_MAX) return {text, 0, false};
  const auto length = static_cast<int64_t>(count_code_points(text));
  const auto place = [&](int64_t index) {
    return index < 0 ? std::max<int64_t>(index < -length ? 0 : index + length, 0) : index;
  };
  const bool crossed = place(begin) > std::min(place(end), length);
  return {sub_text(text, place(begin), place(end)), place(begin), crossed};
}

Value find_in(Evaluator&, const Value& self, const Arguments& arguments, bool last, bool must) {
  const std::string& part = text_argument(arguments, 0, "sub");
  const Searched where = searched(text_of_self(self), arguments);
  const size_t at = where.beyond ? std::string_view::npos
                    : last       ? rfind_text(where.part, part)
                                 : find_text(where.part, part, 0);
  if (at == std::string::npos && must) fail("substring not found");
  if (at == std::string::npos) return int64_t{-1};
  return where.before + static_cast<int64_t>(count_code_points(where.part.substr(0, at)));
}

Value affix(Evaluator& evaluator, const Value& self, const Arguments& arguments, bool start) {
  const Searched where = searched(text_of_self(self), arguments);
  const Value& wanted = arguments.need(0, "prefix");
  const auto matches = [&](const Value& value) {
    if (!value.string())
      fail(fmt::format("{} first arg must be str or a tuple of str", start ? "startswith" : "endswith"));
    evaluator.meter().charge_text(value.string()->size());
    if (where.beyond) return false;
    return start ? where.part.starts_with(*value.string()) : where.part.ends_with(*value.string());
  };
  if (!wanted.list() || wanted.list()->kind != ListKind::tuple) return matches(wanted);
  const auto& items = wanted.list()->items;
  return std::any_of(items.begin(), items.end(), matches);
}

Value texts(Evaluator& evaluator, std::vector<std::string> parts, ListKind kind = ListKind::list) {
  evaluator.charge(parts.size() * kStepsPerText);
  std::vector<Value> values;
  values.reserve(parts.size());
  for (std::string& part : parts) values.emplace_back(std::move(part));
  return make_list(std::move(values), kind);
}

Value split(Evaluator& evaluator, const Value& self, const Arguments& arguments, bool from_right) {
  const Value* limit = arguments.find(1, "maxsplit");
  const Value* separator = arguments.find(0, "sep");
  std::optional<std::string> sep;
  if (separator && !separator->is_none()) sep = text_argument(arguments, 0, "sep");
  return texts(evaluator, split_text(evaluator.meter(), text_of_self(self), sep,
                                     limit ? as_int(*limit, "maxsplit") : -1, from_right));
}

Value partition(Evaluator& evaluator, const Value& self, const Arguments& arguments, bool last) {
  const std::string& text = text_of_self(self);
  const std::string& sep = text_argument(arguments, 0, "sep");
  if (sep.empty()) fail("empty separator");
  const size_t at = last ? rfind_text(text, sep) : find_text(text, sep, 0);
  if (at != std::string::npos) {
    return texts(evaluator, {text.substr(0, at), sep, text.substr(at + sep.size())}, ListKind::tuple);
  }
  if (last) return texts(evaluator, {"", "", text}, ListKind::tuple);
  return texts(evaluator, {text, "", ""}, ListKind::tuple);
}

Value join(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const std::string& separator = text_of_self(self);
  std::string out;
  bool first = true;
  const ListRef values = iterate(evaluator.meter(), arguments.need(0, "iterable"));
  for (const Value& part : values->items) {
    if (!self.is_markup() && !part.string()) {
      fail(fmt::format("sequence item: expected str instance, {} found", type_name(part)));
    }
    if (!first) out += separator;
    const std::string text = evaluator.text_of(part);
    out += self.is_markup() && !part.is_markup() ? escape_html(text) : text;
    first = false;
    evaluator.meter().charge_text(separator.size() + text.size());
    check_text_size(out.size());
  }
  return out;
}

Value replace(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Value* count = arguments.find(2, "");
  const std::string& to = text_argument(arguments, 1, "new");
  const bool escapes = self.is_markup() && !arguments.positional[1].is_markup();
  return replace_text(evaluator.meter(), text_of_self(self), text_argument(arguments, 0, "old"),
                      escapes ? escape_html(to) : to, count ? as_int(*count, "count") : -1);
}

Value justified(Evaluator& evaluator, const Value& self, const Arguments& arguments, int side) {
  const std::string fill = arguments.find(1, "") ? text_argument(arguments, 1, "fillchar") : " ";
  return justify(evaluator.meter(), text_of_self(self), as_int(arguments.need(0, "width"), "width"), fill, side);
}

Value zfill(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const std::string& text = text_of_self(self);
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const int64_t width = as_int(arguments.need(0, "width"), "width") - static_cast<int64_t>(sign);
  return text.substr(0, sign) + justify(evaluator.meter(), text.substr(sign), width, "0", 1);
}

Value expand_tabs(Evaluator& evaluator, const Value& self, const Arguments& arguments) {
  const Value* given = arguments.find(0, "tabsize");
  const int64_t size = std::clamp<int64_t>(given ? as_int(*given, "tabsize") : 8, 0, 1000);
  std::string out;
  int64_t column = 0;
  for (const char c : text_of_self(self)) {
    if (c == '\t') {
      const int64_t spaces = size == 0 ? 0 : size - column % size;
      out.append(static_cast<size_t>(spaces), ' ');
      column += spaces;
      check_text_size(out.size());
      continue;
    }
    out += c;
    if ((c & 0xc0) != 0x80) column = c == '\n' || c == '\r' ? 0 : column + 1;
  }
  return evaluator.charged(std::move(out));
}

template <typename Predicate>
bool all_points(const Value& self, Predicate holds, bool empty = false) {
  const std::string& text = text_of_self(self);
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    if (!holds(point.value)) return false;
    at += point.num_bytes;
  }
  return empty || !text.empty();
}

bool is_alnum(char32_t point) {
  return unicode::is_letter(point) || unicode::is_decimal(point) || unicode::is_digit(point) ||
         unicode::is_numeric(point);
}

bool is_identifier(const Value& self) {
  const std::string& text = text_of_self(self);
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return all_points(self, [](char32_t c) { return c == '_' || unicode::is_letter(c) || unicode::is_decimal(c); });
}

/// The text without `part` at its begin or end.
Value without(const Value& self, const Arguments& arguments, bool start) {
  const std::string& text = text_of_self(self);
  const std::string& part = text_argument(arguments, 0, "part");
  if (start) return text.starts_with(part) ? text.substr(part.size()) : text;
  return text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text;
}

struct NamedMethod {
  std::string_view name;
  size_t least, most;  ///< arguments
  Method call;
  std::array<std::string_view, 2> keywords = {};
};

using E = Evaluator;
using V = Value;
using A = Arguments;

constexpr NamedMethod kMethods[] = {
    {"capitalize", 0, 0, [](E&, const V& s, const A&) { return V(capitalize(text_of_self(s))); }},
    {"casefold", 0, 0, [](E&, const V& s, const A&) { return V(unicode::to_lower(text_of_self(s))); }},
    {"center", 1, 2, [](E& e, const V& s, const A& a) { return justified(e, s, a, 0); }},
    {"count", 1, 3,
     [](E& e, const V& s, const A& a) {
       const std::string& part = text_argument(a, 0, "sub");
       const Searched where = searched(text_of_self(s), a);
       return V(where.beyond ? int64_t{0} : count_text(e.meter(), where.part, part));
     }},
    {"endswith", 1, 3, [](E& e, const V& s, const A& a) { return affix(e, s, a, false); }},
    {"expandtabs", 0, 1, expand_tabs, {"tabsize"}},
    {"find", 1, 3, [](E& e, const V& s, const A& a) { return find_in(e, s, a, false, false); }},
    {"format", 0, SIZE_MAX, [](E& e, const V& s, const A& a) { return V(e.format_braces(s, a)); }},
    {"index", 1, 3, [](E& e, const V& s, const A& a) { return find_in(e, s, a, false, true); }},
    {"isalnum", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, is_alnum)); }},
    {"isalpha", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, unicode::is_letter)); }},
    {"isascii", 0, 0,
     [](E&, const V& s, const A&) {
       return V(all_points(
           s, [](char32_t c) { return c < 0x80; }, true));
     }},
    {"isdecimal", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, unicode::is_decimal)); }},
    {"isdigit", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, unicode::is_digit)); }},
    {"isidentifier", 0, 0, [](E&, const V& s, const A&) { return V(is_identifier(s)); }},
    {"islower", 0, 0, [](E&, const V& s, const A&) { return V(is_cased_as(text_of_self(s), false)); }},
    {"isnumeric", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, unicode::is_numeric)); }},
    {"isprintable", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, unicode::is_printable, true)); }},
    {"isspace", 0, 0, [](E&, const V& s, const A&) { return V(all_points(s, unicode::is_python_space)); }},
    {"istitle", 0, 0, [](E&, const V& s, const A&) { return V(is_title(text_of_self(s))); }},
    {"isupper", 0, 0, [](E&, const V& s, const A&) { return V(is_cased_as(text_of_self(s), true)); }},
    {"join", 1, 1, join},
    {"ljust", 1, 2, [](E& e, const V& s, const A& a) { return justified(e, s, a, -1); }},
    {"lower", 0, 0, [](E&, const V& s, const A&) { return V(unicode::to_lower(text_of_self(s))); }},
    {"lstrip", 0, 1, [](E&, const V& s, const A& a) { return V(strip(text_of_self(s), a.find(0, ""), true, false)); }},
    {"partition", 1, 1, [](E& e, const V& s, const A& a) { return partition(e, s, a, false); }},
    {"removeprefix", 1, 1, [](E&, const V& s, const A& a) { return without(s, a, true); }},
    {"removesuffix", 1, 1, [](E&, const V& s, const A& a) { return without(s, a, false); }},
    {"replace", 2, 3, replace},
    {"rfind", 1, 3, [](E& e, const V& s, const A& a) { return find_in(e, s, a, true, false); }},
    {"rindex", 1, 3, [](E& e, const V& s, const A& a) { return find_in(e, s, a, true, true); }},
    {"rjust", 1, 2, [](E& e, const V& s, const A& a) { return justified(e, s, a, 1); }},
    {"rpartition", 1, 1, [](E& e, const V& s, const A& a) { return partition(e, s, a, true); }},
    {"rsplit", 0, 2, [](E& e, const V& s, const A& a) { return split(e, s, a, true); }, {"sep", "maxsplit"}},
    {"rstrip", 0, 1, [](E&, const V& s, const A& a) { return V(strip(text_of_self(s), a.find(0, ""), false, true)); }},
    {"split", 0, 2, [](E& e, const V& s, const A& a) { return split(e, s, a, false); }, {"sep", "maxsplit"}},
    {"splitlines",
     0,
     1,
     [](E& e, const V& s, const A& a) {
       return texts(e, split_lines(e.meter(), text_of_self(s), flag_argument(a, 0, "keepends", false)));
     },
     {"keepends"}},
    {"startswith", 1, 3, [](E& e, const V& s, const A& a) { return affix(e, s, a, true); }},
    {"strip", 0, 1, [](E&, const V& s, const A& a) { return V(strip(text_of_self(s), a.find(0, ""), true, true)); }},
    {"swapcase", 0, 0, [](E&, const V& s, const A&) { return V(swap_case(text_of_self(s))); }},
    {"title", 0, 0, [](E&, const V& s, const A&) { return V(title_method(text_of_self(s))); }},
    {"upper", 0, 0, [](E&, const V& s, const A&) { return V(unicode::to_upper(text_of_self(s))); }},
    {"zfill", 1, 1, zfill},
};

const NamedMethod* find_method(std::string_view name) {
  const auto found =
      std::lower_bound(std::begin(kMethods), std::end(kMethods), name,
                       [](const NamedMethod& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != std::end(kMethods) && found->name == name ? &*found : nullptr;
}

/// What a method of markup gives.
Value as_markup(Evaluator& evaluator, const Value& value) {
  if (const std::string* text = value.string()) return make_text(*text, true);
  if (!value.list()) return value;
  evaluator.charge(value.list()->items.size() * kStepsPerText);
  std::vector<Value> items;
  for (const Value& item : value.list()->items) items.push_back(make_text(*item.string(), true));
  return make_list(std::move(items), value.list()->kind);
}

}  // namespace

const std::string& text_argument(const Arguments& arguments, size_t position, std::string_view name) {
  const Value& value = arguments.need(position, name);
  if (!value.string()) fail(fmt::format("{} must be str, not {}", name, type_name(value)));
  return *value.string();
}

bool has_string_method(std::string_view name) { return find_method(name) != nullptr; }

Value call_string_method(Evaluator& evaluator, const Value& text, std::string_view name, const Arguments& arguments) {
  const NamedMethod& method = *find_method(name);
  if (method.most == 0) {  // those without arguments look at every code point
    evaluator.meter().charge_points(text.string()->size());
  } else {
    evaluator.meter().charge_text(text.string()->size());
  }
  for (const Value& argument : arguments.positional) {
    if (const std::string* given = argument.string()) evaluator.meter().charge_text(given->size());
  }
  if (method.most != SIZE_MAX) {
    if (method.keywords[0].empty()) {
      arguments.check_count(name, method.least, method.most);
    } else {
      arguments.check(name, std::span(method.keywords).first(method.most));
    }
  }
  const Value result = method.call(evaluator, text, arguments);
  if (const std::string* made = result.string()) check_text_size(made->size());
  return text.is_markup() ? as_markup(evaluator, result) : result;
}

}  // namespace echelon::templates
