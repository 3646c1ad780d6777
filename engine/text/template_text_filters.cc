// Filters of texts and numbers. tojson is the one that transformers puts in the place of Jinja's.
// Adding one: a function below, and a line in kFilters.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_strings.h"
#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

/// soft_str(x): markup stays markup.
Value soft_text(Evaluator& evaluator, const Value& input) {
  return input.string() ? input : Value(evaluator.charged(evaluator.text_of(input)));
}

/// The same for a filter that looks at every code point.
Value read_text(Evaluator& evaluator, const Value& input) {
  const Value text = soft_text(evaluator, input);
  evaluator.meter().charge_points(text.string()->size());
  return text;
}

/// A method of a string, applied to any value's text.
template <std::string (*Convert)(const std::string&)>
Value converted(Evaluator& evaluator, const Value& input, const Arguments&) {
  const Value text = read_text(evaluator, input);
  return make_text(evaluator.charged(Convert(*text.string())), text.is_markup());
}

std::string to_upper(const std::string& text) { return unicode::to_upper(text); }
std::string to_lower(const std::string& text) { return unicode::to_lower(text); }

Value filter_default(Evaluator&, const Value& input, const Arguments& arguments) {
  const Value* absent = arguments.find(0, "default_value");
  const bool replace = input.is_undefined() || (flag_argument(arguments, 1, "boolean", false) && !truthy(input));
  return replace ? (absent ? *absent : Value("")) : input;
}

Value filter_tojson(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
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
    const ListRef pair = iterate(evaluator.meter(), *separators);
    if (pair->items.size() != 2) fail("separators must be a pair");
    for (const Value& part : pair->items) {
      if (!part.string()) fail(fmt::format("a separator must be str, not {}", type_name(part)));
    }
    style.item_separator = *pair->items[0].string();
    style.key_separator = *pair->items[1].string();
  }
  return evaluator.charged(to_json(evaluator.meter(), input, style));
}

void refuse_undefined(const Value& input) {
  if (const Undefined* undefined = input.get<Undefined>()) fail(*undefined->message);
}

/// Digits without their underscores, where Python allows them: between two digits. Nullopt where it does not.
std::optional<std::string> without_underscores(const std::string& text) {
  std::string out;
  const auto is_digit = [&](size_t i) { return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])); };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) {
      return std::nullopt;
    }
  }
  return out;
}

/// float(text).
std::optional<double> parse_real(const std::string& text) {
  std::optional<std::string> digits = without_underscores(strip(text, nullptr, true, true));
  if (!digits) return std::nullopt;
  const size_t sign = digits->starts_with('+') || digits->starts_with('-') ? 1 : 0;
  std::string word = unicode::to_lower(digits->substr(sign));
  double number = 0;
  if (word == "inf" || word == "infinity") {
    number = INFINITY;
  } else if (word == "nan") {
    number = NAN;
  } else {
    if (word.empty() || word.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
    const auto parsed = std::from_chars(word.data(), word.data() + word.size(), number);
    if (parsed.ptr != word.data() + word.size() || parsed.ec == std::errc::invalid_argument) return std::nullopt;
    if (parsed.ec == std::errc::result_out_of_range) number = std::strtod(word.c_str(), nullptr);
  }
  return digits->starts_with('-') ? -number : number;
}

/// int(text, base).
std::optional<int64_t> parse_integer(const std::string& text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  std::string digits = strip(text, nullptr, true, true);
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  const std::string prefix = unicode::to_lower(digits.substr(0, 2));
  const int64_t spelled = prefix == "0x" ? 16 : prefix == "0o" ? 8 : prefix == "0b" ? 2 : 0;
  if (spelled != 0 && (base == spelled || base == 0)) {
    base = spelled;
    digits.erase(0, 2);
    if (digits.starts_with('_')) digits.erase(0, 1);
  }
  const std::optional<std::string> plain = without_underscores(digits);
  if (!plain || plain->empty() || plain->front() == '-') return std::nullopt;
  uint64_t value = 0;
  const char* const end = plain->data() + plain->size();
  const auto parsed = std::from_chars(plain->data(), end, value, static_cast<int>(base == 0 ? 10 : base));
  if (parsed.ptr != end || parsed.ec == std::errc::invalid_argument) return std::nullopt;
  if (parsed.ec != std::errc() || value > static_cast<uint64_t>(INT64_MAX)) fail("integer result too large");
  if (base == 0 && plain->size() > 1 && plain->front() == '0' && value != 0) return std::nullopt;
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

int64_t truncated(double number) {
  if (std::abs(number) >= 9.2e18) fail("integer result too large");
  return static_cast<int64_t>(number);
}

Value filter_int(Evaluator&, const Value& input, const Arguments& arguments) {
  refuse_undefined(input);
  const Value* absent = arguments.find(0, "default");
  const Value* base = arguments.find(1, "base");
  const Value failed = absent ? *absent : Value(int64_t{0});
  if (input.get<int64_t>() || input.get<bool>()) return as_int(input, "a number");
  if (const double* number = input.get<double>()) {
    if (std::isinf(*number)) fail("cannot convert float infinity to integer");
    return std::isnan(*number) ? failed : Value(truncated(*number));
  }
  if (!input.string()) return failed;
  if (const auto whole = parse_integer(*input.string(), base ? as_int(*base, "base") : 10)) return *whole;
  const std::optional<double> real = parse_real(*input.string());
  return real && std::isfinite(*real) ? Value(truncated(*real)) : failed;
}

Value filter_float(Evaluator&, const Value& input, const Arguments& arguments) {
  refuse_undefined(input);
  const Value* absent = arguments.find(0, "default");
  if (input.is_number()) return as_double(input);
  const std::optional<double> real = input.string() ? parse_real(*input.string()) : std::nullopt;
  return real ? Value(*real) : absent ? *absent : Value(0.0);
}

/// round(x, -n) of an integer: to tens, hundreds and so on, half to even.
Value round_to_tens(int64_t value, int64_t n) {
  int64_t unit = 1;
  for (; n > 0; --n) {
    if (__builtin_mul_overflow(unit, int64_t{10}, &unit)) return int64_t{0};
  }
  const int64_t rest = ((value % unit) + unit) % unit;
  const int64_t low = value - rest;
  const bool up = rest > unit - rest || (rest == unit - rest && (low / unit) % 2 != 0);
  return low + (up ? unit : 0);
}

Value filter_round(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* precision_value = arguments.find(0, "precision");
  const Value* method_value = arguments.find(1, "method");
  const int64_t precision = precision_value ? as_int(*precision_value, "precision") : 0;
  const std::string method = method_value ? evaluator.text_of(*method_value) : "common";
  if (precision < -30 || precision > 30) fail("precision must be from -30 to 30");
  if (method != "common" && method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  const double* real = input.get<double>();
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = as_double(input) * scale;
    if (!std::isfinite(scaled)) fail("cannot convert float to integer");
    return static_cast<double>(truncated(method == "ceil" ? std::ceil(scaled) : std::floor(scaled))) / scale;
  }
  if (!real) {
    const int64_t value = as_int(input, "a number");
    return precision < 0 ? round_to_tens(value, -precision) : Value(value);
  }
  if (!std::isfinite(*real)) return *real;
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(*real / unit) * unit;
  }
  if (std::abs(*real) >= 0x1p53) return *real;  // whole
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), *real);
  return std::strtod(buffer, nullptr);
}

Value filter_indent(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  refuse_undefined(input);
  if (!input.string()) fail(fmt::format("indent needs a str, not {}", type_name(input)));
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
  for (const std::string& line : split_lines(evaluator.meter(), *input.string() + "\n")) {
    if (!first) out += blank || !line.empty() ? "\n" + margin : "\n";
    out += line;
    first = false;
    evaluator.meter().charge_text(margin.size());
    check_text_size(out.size());
  }
  return make_text(evaluator.charged(std::move(out)), input.is_markup());
}

Value filter_truncate(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const auto number = [&](size_t position, std::string_view name, int64_t absent) {
    const Value* value = arguments.find(position, name);
    return value && !value->is_none() ? as_int(*value, name) : absent;
  };
  const Value* end_value = arguments.find(2, "end");
  const std::string end = end_value ? evaluator.text_of(*end_value) : "...";
  const int64_t length = number(0, "length", 255);
  const int64_t leeway = number(3, "leeway", 5);
  const auto end_length = static_cast<int64_t>(count_code_points(end));
  if (length < end_length || leeway < 0) fail("truncate's length or leeway is too small");
  if (length_of(input) <= length + leeway) return input;
  if (!input.string()) fail(fmt::format("truncate needs a str, not {}", type_name(input)));
  std::string kept(sub_text(*input.string(), 0, length - end_length));
  if (!flag_argument(arguments, 1, "killwords", false)) {
    const size_t space = kept.rfind(' ');
    if (space != std::string::npos) kept.resize(space);
  }
  return make_text(kept + (input.is_markup() ? escape_html(end) : end), input.is_markup());
}

Value filter_wordcount(Evaluator& evaluator, const Value& input, const Arguments&) {
  const Value text = read_text(evaluator, input);
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.string()->size();) {
    const CodePoint point = read_code_point(*text.string(), at);
    const bool word = point.value == '_' || unicode::is_letter(point.value) || unicode::is_numeric(point.value) ||
                      unicode::is_digit(point.value);
    count += word && !inside;
    inside = word;
    at += point.num_bytes;
  }
  return count;
}

std::string quote_url(const std::string& text, bool in_query) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) || std::string_view("_.-~").find(c) != std::string_view::npos ||
        (c == '/' && !in_query)) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value filter_urlencode(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (!input.dict() && !input.list()) return evaluator.charged(quote_url(*read_text(evaluator, input).string(), false));
  const Value pairs = input.dict() ? call_container_method(evaluator, input, "items", {}) : input;
  std::string out;
  const ListRef values = iterate(evaluator.meter(), pairs);
  for (const Value& pair : values->items) {
    const ListRef both = iterate(evaluator.meter(), pair);
    if (both->items.size() != 2) fail("urlencode needs pairs");
    if (!out.empty()) out += '&';
    out +=
        quote_url(evaluator.text_of(both->items[0]), true) + "=" + quote_url(evaluator.text_of(both->items[1]), true);
    check_text_size(out.size());
  }
  return evaluator.charged(std::move(out));
}

Value filter_escape(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (input.is_markup()) return input;
  return make_text(evaluator.charged(escape_html(evaluator.text_of(input))), true);
}

Value filter_replace(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  const Value* count = arguments.find(2, "count");
  return replace_text(evaluator.meter(), evaluator.text_of(input), evaluator.text_of(arguments.need(0, "old")),
                      evaluator.text_of(arguments.need(1, "new")),
                      count && !count->is_none() ? as_int(*count, "count") : -1);
}

Value filter_format(Evaluator& evaluator, const Value& input, const Arguments& arguments) {
  if (!arguments.named.empty() && !arguments.positional.empty()) fail("can't handle positional and keyword arguments");
  std::vector<std::pair<Value, Value>> named;
  for (const auto& [name, value] : arguments.named) named.emplace_back(Value(name), value);
  const Value format = soft_text(evaluator, input);
  const Value values = named.empty() ? make_list(arguments.positional, ListKind::tuple) : make_dict(std::move(named));
  return make_text(evaluator.format_printf(format, values), format.is_markup());
}

Value filter_abs(Evaluator& evaluator, const Value& input, const Arguments&) {
  if (const double* real = input.get<double>()) return std::abs(*real);
  const int64_t value = as_int(input, "a number");
  return value < 0 ? evaluator.arithmetic("-", Value(int64_t{0}), Value(value)) : Value(value);
}

using E = Evaluator;
using V = Value;
using A = Arguments;

/// Sorted by name.
constexpr NamedFilter kFilters[] = {
    {"abs", filter_abs},
    {"capitalize", converted<capitalize>},
    {"center",
     [](E& e, const V& v, const A& a) {
       const Value text = soft_text(e, v);
       const Value* width = a.find(0, "width");
       return make_text(justify(e.meter(), *text.string(), width ? as_int(*width, "width") : 80, " ", 0),
                        text.is_markup());
     },
     {"width"}},
    {"d", filter_default, {"default_value", "boolean"}},
    {"default", filter_default, {"default_value", "boolean"}},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"float", filter_float, {"default"}},
    {"forceescape", [](E& e, const V& v, const A&) { return make_text(e.charged(escape_html(e.text_of(v))), true); }},
    {"format", filter_format, {}, true},
    {"indent", filter_indent, {"width", "first", "blank"}},
    {"int", filter_int, {"default", "base"}},
    {"lower", converted<to_lower>},
    {"replace", filter_replace, {"old", "new", "count"}},
    {"round", filter_round, {"precision", "method"}},
    {"safe", [](E& e, const V& v, const A&) { return make_text(e.text_of(v), true); }},
    {"string", [](E& e, const V& v, const A&) { return soft_text(e, v); }},
    {"title", [](E& e, const V& v, const A&) { return V(e.charged(title_filter(*read_text(e, v).string()))); }},
    {"tojson", filter_tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim",
     [](E& e, const V& v, const A& a) {
       const Value text = soft_text(e, v);
       const Value* chars = a.find(0, "chars");
       if (chars && chars->string()) e.meter().charge_points(chars->string()->size());
       return make_text(strip(*text.string(), chars, true, true), text.is_markup());
     },
     {"chars"}},
    {"truncate", filter_truncate, {"length", "killwords", "end", "leeway"}},
    {"upper", converted<to_upper>},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
};

}  // namespace

std::span<const NamedFilter> text_filters() { return kFilters; }

}  // namespace echelon::templates
