// Python's two ways of filling a text with values: format % arguments, and format.format(arguments).
// Both end in the same place: a FormatSpec, and a value written by it.
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "engine/text/template_evaluator.h"
#include "engine/text/template_format_spec.h"
#include "engine/text/template_strings.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

/// One conversion of printf.
struct Conversion {
  std::optional<std::string> key;
  FormatSpec spec;
};

class Printf {
 public:
  Printf(Evaluator& evaluator, const std::string& format, const Value& arguments, bool markup)
      : evaluator_(evaluator), format_(format), arguments_(arguments), markup_(markup) {}

  std::string run() {
    while (at_ < format_.size()) {
      if (format_[at_] != '%') {
        out_ += format_[at_++];
        continue;
      }
      ++at_;
      const Conversion conversion = parse();
      out_ += conversion.spec.type == '%' ? "%" : convert(conversion);
      check_text_size(out_.size());
    }
    const bool several = is_tuple();
    const bool mapping =
        !several && !arguments_.string() &&
        (arguments_.dict() || arguments_.is_undefined() || (arguments_.list() && arguments_.list()->is_sequence()));
    const size_t given = several ? arguments_.list()->items.size() : 1;
    if (!mapping && used_ < given) fail("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  bool is_tuple() const { return arguments_.list() && arguments_.list()->kind == ListKind::tuple; }

  Value next() {
    const size_t place = used_++;
    if (is_tuple() && place < arguments_.list()->items.size()) return arguments_.list()->items[place];
    if (is_tuple() || place > 0 || keyed_) fail("not enough arguments for format string");
    return arguments_;
  }

  int64_t number(int64_t most) {
    if (at_ < format_.size() && format_[at_] == '*') {
      ++at_;
      const int64_t value = as_int(next(), "* wants an integer");
      if (value > most || value < -most) fail(fmt::format("a width or precision is more than {}", most));
      return value;
    }
    return read_number(format_, at_, most).value_or(0);
  }

  Conversion parse() {
    Conversion conversion;
    FormatSpec& spec = conversion.spec;
    if (at_ < format_.size() && format_[at_] == '(') {
      const size_t end = find_text(format_, ")", at_);
      if (end == std::string::npos) fail("incomplete format key");
      conversion.key = format_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
    }
    for (; at_ < format_.size(); ++at_) {
      const char flag = format_[at_];
      if (flag == '-') {
        spec.align = '<';
      } else if (flag == '+' || (flag == ' ' && spec.sign != '+')) {
        spec.sign = flag;
      } else if (flag == '#') {
        spec.alternate = true;
      } else if (flag == '0') {
        spec.zero = true;
      } else if (flag != ' ') {
        break;
      }
    }
    spec.width = number(kMaxWidth);
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (at_ < format_.size() && format_[at_] == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(number(kMaxPrecision), 0);
    }
    while (at_ < format_.size() && std::string_view("hlL").find(format_[at_]) != std::string_view::npos) ++at_;
    if (at_ >= format_.size()) fail("incomplete format");
    spec.type = format_[at_++];
    return conversion;
  }

  std::string convert(const Conversion& conversion) {
    FormatSpec spec = conversion.spec;
    if (std::string_view("sradiuoxXeEfFgGc").find(spec.type) == std::string_view::npos) {
      fail(fmt::format("unsupported format character at index {}", at_ - 1));
    }
    if (conversion.key && !arguments_.dict()) fail("format requires a mapping");
    keyed_ = keyed_ || conversion.key;
    Value value;
    if (conversion.key) {
      const Value* found = arguments_.dict()->find(std::string_view(*conversion.key));
      if (found == nullptr) fail(fmt::format("'{}'", *conversion.key));
      value = *found;
    } else {
      value = next();
    }
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') return convert_text(value, spec);
    if (spec.type == 'c' && value.string()) {
      if (count_code_points(*value.string()) != 1) fail("%c requires int or char");
      return pad(*value.string(), spec, '>');
    }
    if (!value.is_number())
      fail(fmt::format("%{} format: a real number is required, not {}", spec.type, type_name(value)));
    if (is_real_type(spec.type)) return format_real(as_double(value), spec);
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    if (decimal) spec.type = 'd';
    if (const double* real = value.get<double>()) {
      if (!decimal) fail(fmt::format("%{} format: an integer is required, not float", spec.type));
      if (!std::isfinite(*real) || std::abs(*real) >= 9.2e18) fail("integer result too large");
      return format_integer(static_cast<int64_t>(*real), spec);
    }
    if (spec.type == 'c') spec.align = spec.align == '\0' ? '>' : spec.align;
    return format_integer(as_int(value, "a number"), spec);
  }

  std::string convert_text(const Value& value, const FormatSpec& spec) {
    std::string text;
    if (spec.type == 's') {
      text = evaluator_.text_of(value);
    } else {
      append_repr(evaluator_.meter(), text, value);
    }
    if (markup_ && !value.is_markup()) text = escape_html(text);
    evaluator_.meter().charge_text(text.size());
    return pad(cut_to_precision(text, spec), spec, '>');
  }

  Evaluator& evaluator_;
  const std::string& format_;
  const Value& arguments_;
  bool markup_;
  std::string out_;
  size_t at_ = 0;
  size_t used_ = 0;
  bool keyed_ = false;  ///< names were used: the dict is no argument by place
};

class Braces {
 public:
  Braces(Evaluator& evaluator, const Arguments& arguments, bool markup)
      : evaluator_(evaluator), arguments_(arguments), markup_(markup) {}

  /// Fields inside a spec are filled, too, but those have none inside.
  std::string run(std::string_view format, int depth) {
    if (depth == 0) fail("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at];
      const bool twice = at + 1 < format.size() && format[at + 1] == c;
      if ((c == '{' || c == '}') && twice) {
        out += c;
        at += 2;
      } else if (c == '{') {
        out += field(format, at, depth);
        check_text_size(out.size());
      } else if (c == '}') {
        fail("Single '}' encountered in format string");
      } else {
        out += c;
        ++at;
      }
    }
    return out;
  }

 private:
  std::string field(std::string_view format, size_t& at, int depth) {
    int open = 0;
    size_t end = at;
    bool bracket = false;  // braces between [ and ] belong to the name
    for (; end < format.size(); ++end) {
      if (format[end] == '[') bracket = open == 1;
      if (format[end] == ']') bracket = false;
      if (!bracket && format[end] == '{') ++open;
      if (!bracket && format[end] == '}' && --open == 0) break;
    }
    if (end >= format.size()) fail("expected '}' before end of string");
    const std::string_view inside = format.substr(at + 1, end - at - 1);
    at = end + 1;
    const size_t name_end = std::min(inside.find_first_of("!:"), inside.size());
    const std::string_view name = inside.substr(0, name_end);
    std::string_view rest = inside.substr(name_end);
    char conversion = '\0';
    if (rest.starts_with('!')) {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) fail("expected ':' after conversion specifier");
      conversion = rest[1];
      rest.remove_prefix(2);
    }
    Value value = resolve(name);
    const std::string spec = rest.empty() ? std::string() : run(rest.substr(1), depth - 1);
    if (conversion != '\0') value = converted(value, conversion);
    const std::string text = format_value(evaluator_.meter(), value, spec);
    evaluator_.meter().charge_text(text.size());
    return markup_ && !value.is_markup() ? escape_html(text) : text;
  }

  Value converted(const Value& value, char conversion) {
    if (conversion == 's') return evaluator_.text_of(value);
    if (conversion != 'r') fail(fmt::format("Unknown conversion specifier {}", conversion));
    std::string out;
    append_repr(evaluator_.meter(), out, value);
    return out;
  }

  Value argument(std::string_view name) {
    size_t at = 0;
    const std::optional<int64_t> number = name.empty() ? next_++ : read_number(name, at, INT32_MAX);
    const bool automatic = name.empty();
    if (!number || (!automatic && at != name.size())) {
      for (const auto& [known, value] : arguments_.named) {
        if (known == name) return value;
      }
      fail(fmt::format("'{}'", name));
    }
    if (automatic ? manual_ : next_ > 0) fail("cannot switch between manual and automatic field numbering");
    manual_ = !automatic;
    if (static_cast<size_t>(*number) >= arguments_.positional.size()) {
      fail(fmt::format("Replacement index {} out of range for positional args tuple", *number));
    }
    return arguments_.positional[static_cast<size_t>(*number)];
  }

  Value resolve(std::string_view name) {
    size_t at = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, at));
    while (at < name.size()) {
      const bool member = name[at] == '.';
      const size_t end = member ? std::min(name.find_first_of(".[", at + 1), name.size()) : name.find(']', at);
      if (end == std::string_view::npos || end == at + 1) fail("Empty attribute in format string");
      const std::string key(name.substr(at + 1, end - at - 1));
      size_t digits = 0;
      const std::optional<int64_t> index = member ? std::nullopt : read_number(key, digits, INT32_MAX);
      const bool numeric = index && digits == key.size();
      value = member ? evaluator_.attribute(value, key) : evaluator_.item(value, numeric ? Value(*index) : Value(key));
      at = member ? end : end + 1;
      if (at < name.size() && name[at] != '.' && name[at] != '[') {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Evaluator& evaluator_;
  const Arguments& arguments_;
  bool markup_;
  int64_t next_ = 0;
  bool manual_ = false;
};

}  // namespace

std::string Evaluator::format_printf(const Value& format, const Value& arguments) {
  meter_.charge_points(format.string()->size());
  return charged(Printf(*this, *format.string(), arguments, format.is_markup()).run());
}

std::string Evaluator::format_braces(const Value& format, const Arguments& arguments) {
  meter_.charge_points(format.string()->size());
  return charged(Braces(*this, arguments, format.is_markup()).run(*format.string(), 2));
}

}  // namespace echelon::templates
