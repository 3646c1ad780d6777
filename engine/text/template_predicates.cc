// Tests ("x is name"), and the text operations that filters and methods share.
// Each test is Jinja's of that name.
#include <fmt/format.h>

#include <algorithm>

#include "engine/text/template_evaluator.h"
#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

bool is_integer(const Value& value) { return value.get<int64_t>() != nullptr; }

bool is_cased(const Value& value, bool upper) {
  return truthy(
      Value(to_text(value) == (upper ? unicode::to_upper(to_text(value)) : unicode::to_lower(to_text(value))) &&
            unicode::to_upper(to_text(value)) != unicode::to_lower(to_text(value))));
}

bool is_line_break(char32_t point) {
  return (point >= 0x0a && point <= 0x0d) || (point >= 0x1c && point <= 0x1e) || point == 0x85 || point == 0x2028 ||
         point == 0x2029;
}

bool is_sequence(const Value& value) {
  return value.string() || value.dict() || value.is_undefined() ||
         (value.list() && value.list()->kind != ListKind::generator);
}

}  // namespace

bool Evaluator::apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  charge(1);
  const auto other = [&]() -> const Value& { return arguments.need(0, "other"); };
  const auto divisible = [&](int64_t by) {
    if (by == 0) fail("division by zero");
    return by == -1 ? int64_t{0} : as_int(input, "a number") % by;
  };
  if (name == "defined") return !input.is_undefined();
  if (name == "undefined") return input.is_undefined();
  if (name == "none") return input.is_none();
  if (name == "string") return input.string() != nullptr;
  if (name == "mapping") return input.dict() != nullptr;
  if (name == "number") return input.is_number();
  if (name == "integer") return is_integer(input);
  if (name == "float") return input.get<double>() != nullptr;
  if (name == "boolean") return input.get<bool>() != nullptr;
  if (name == "true") return input.get<bool>() && *input.get<bool>();
  if (name == "false") return input.get<bool>() && !*input.get<bool>();
  if (name == "sequence") return is_sequence(input);
  if (name == "iterable") return is_sequence(input) || input.list();
  if (name == "callable") return input.get<Builtin>() || input.get<BoundMethod>() || input.get<const MacroNode*>();
  if (name == "escaped") return false;
  if (name == "odd") return divisible(2) != 0;
  if (name == "even") return divisible(2) == 0;
  if (name == "divisibleby") return divisible(as_int(arguments.need(0, "num"), "num")) == 0;
  if (name == "lower") return is_cased(input, false);
  if (name == "upper") return is_cased(input, true);
  if (name == "in") return contains(other(), input);
  if (name == "equalto" || name == "eq" || name == "==") return equal(input, other());
  if (name == "ne" || name == "!=") return !equal(input, other());
  if (name == "sameas") {
    const Value& same = other();
    const bool objects = input.list() || input.dict();
    return objects ? input.list() == same.list() && input.dict() == same.dict()
                   : input.variant().index() == same.variant().index() && equal(input, same);
  }
  if (name == "gt" || name == "greaterthan" || name == ">") return compare(input, other()) > 0;
  if (name == "ge" || name == ">=") return compare(input, other()) >= 0;
  if (name == "lt" || name == "lessthan" || name == "<") return compare(input, other()) < 0;
  if (name == "le" || name == "<=") return compare(input, other()) <= 0;
  fail(fmt::format("the test '{}' is unknown or not supported", name));
}

std::string strip(const std::string& text, const Value* characters, bool left, bool right) {
  const std::string* set = characters ? characters->string() : nullptr;
  if (characters && !set && !characters->is_none()) fail("strip arg must be None or str");
  std::vector<char32_t> wanted;
  for (size_t at = 0; set && at < set->size();) {
    const CodePoint point = read_code_point(*set, at);
    wanted.push_back(point.value);
    at += point.num_bytes;
  }
  const auto drops = [&](char32_t point) {
    return set ? std::find(wanted.begin(), wanted.end(), point) != wanted.end() : unicode::is_python_space(point);
  };
  size_t begin = std::string::npos;
  size_t end = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    if (!drops(point.value)) {
      if (begin == std::string::npos) begin = at;
      end = at + point.num_bytes;
    }
    at += point.num_bytes;
  }
  if (begin == std::string::npos) begin = end = left ? text.size() : 0;
  if (!left) begin = 0;
  if (!right) end = text.size();
  return text.substr(begin, end - begin);
}

std::string replace_text(Evaluator& evaluator, const std::string& text, const std::string& from, const std::string& to,
                         int64_t count) {
  std::string out;
  size_t done = 0;
  const auto put = [&](size_t at, size_t skipped) {
    out.append(text, done, at - done).append(to);
    done = at + skipped;
    if (out.size() > kMaxTextBytes) fail(fmt::format("a text is longer than {} bytes", kMaxTextBytes));
  };
  if (from.empty()) {  // before every character, and at the end
    for (const size_t at : code_point_offsets(text)) {
      if (count-- == 0) break;
      put(at, 0);
    }
  } else {
    for (size_t at = text.find(from); at != std::string::npos && count != 0; at = text.find(from, done)) {
      put(at, from.size());
      --count;
    }
  }
  return evaluator.charged(out.append(text, done));
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const size_t end = at;
    at += point.num_bytes;
    if (!is_line_break(point.value)) continue;
    if (point.value == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, end - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string capitalize(const std::string& text) {
  if (text.empty()) return text;
  const size_t first = read_code_point(text, 0).num_bytes;
  return unicode::to_upper(text.substr(0, first)) + unicode::to_lower(text.substr(first));
}

std::string title(const std::string& text) {
  std::string out;
  size_t begin = 0;  // of the word at hand
  for (size_t at = 0; at <= text.size();) {
    const bool end = at == text.size();
    const CodePoint point = end ? CodePoint{} : read_code_point(text, at);
    const bool breaks = !end && (unicode::is_python_space(point.value) ||
                                 (point.value < 0x80 && std::string_view("-({[<").find(
                                                            static_cast<char>(point.value)) != std::string_view::npos));
    if (end || breaks) {
      out += capitalize(text.substr(begin, at - begin));
      if (end) break;
      out.append(text, at, point.num_bytes);
      begin = at + point.num_bytes;
    }
    at += point.num_bytes;
  }
  return out;
}

}  // namespace echelon::templates
