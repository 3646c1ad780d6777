// Padding, signs, groups of digits and precision. Widths and precisions are limited.
#include "engine/text/template_format_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/text/template_strings.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

std::string grouped(const std::string& digits, char group, size_t every) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += group;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

/// Sign, prefix and digits of a number, with zeros or fill between them as the spec wants.
std::string finish_number(bool negative, const std::string& prefix, std::string digits, const FormatSpec& spec) {
  const bool hexadecimal = spec.type == 'x' || spec.type == 'X' || spec.type == 'o' || spec.type == 'b';
  if (spec.group != '\0') digits = grouped(digits, spec.group, hexadecimal ? 4 : 3);
  std::string head = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  head += prefix;
  const bool inside = spec.align == '=' || (spec.zero && spec.align == '\0');
  if (!inside) return pad(head + digits, spec, '>');
  const auto missing = spec.width - static_cast<int64_t>(head.size() + digits.size());
  for (int64_t i = 0; i < missing; ++i) head += spec.zero ? "0" : spec.fill;
  return head + digits;
}

/// The number without its sign; type '\0' writes as str() does, but rounds to a given precision.
std::string real_digits(double magnitude, const FormatSpec& spec) {
  const bool upper = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
  if (!std::isfinite(magnitude)) return std::isnan(magnitude) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
  if (spec.type == '\0' && !spec.precision) return float_repr(magnitude);
  const char type = spec.type == '\0' ? 'g' : spec.type == '%' ? 'f' : spec.type;
  const std::string pattern = std::string("%") + (spec.alternate ? "#" : "") + ".*" + type;
  char buffer[kMaxPrecision + 400];
  std::snprintf(buffer, sizeof buffer, pattern.c_str(), static_cast<int>(spec.precision.value_or(6)),
                spec.type == '%' ? magnitude * 100 : magnitude);
  std::string digits = buffer;
  const bool bare = spec.type == '\0' && digits.find_first_of(".e") == std::string::npos;
  if (spec.type == '%') digits += '%';
  return bare ? digits + ".0" : digits;
}

FormatSpec parse_spec(std::string_view text) {
  FormatSpec spec;
  size_t at = 0;
  const auto is_align = [&](size_t place) {
    return place < text.size() && std::string_view("<>=^").find(text[place]) != std::string_view::npos;
  };
  const auto take = [&](std::string_view wanted) {
    if (at >= text.size() || wanted.find(text[at]) == std::string_view::npos) return '\0';
    return text[at++];
  };
  const size_t first = text.empty() ? 0 : read_code_point(text, 0).num_bytes;
  if (first > 0 && is_align(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = text[at++];
  }
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternate = take("#") != '\0';
  if (take("0") != '\0') {
    spec.zero = true;
    if (spec.align != '\0') spec.zero = false, spec.fill = first > 0 && is_align(first) ? spec.fill : "0";
  }
  spec.width = read_number(text, at, kMaxWidth).value_or(0);
  spec.group = take(",_");
  if (take(".") != '\0') {
    spec.precision = read_number(text, at, kMaxPrecision);
    if (!spec.precision) fail("Format specifier missing precision");
  }
  spec.type = take("bcdeEfFgGnosxX%");
  if (at != text.size()) fail("Invalid format specifier");
  return spec;
}

}  // namespace

std::optional<int64_t> read_number(std::string_view text, size_t& at, int64_t most) {
  const size_t begin = at;
  int64_t value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > most) fail(fmt::format("a width or precision is more than {}", most));
  }
  return at == begin ? std::nullopt : std::optional<int64_t>(value);
}

std::string pad(const std::string& text, const FormatSpec& spec, char default_align) {
  const auto missing = spec.width - static_cast<int64_t>(count_code_points(text));
  if (missing <= 0) return text;
  const char align = spec.align == '\0' ? default_align : spec.align;
  const auto padding = static_cast<size_t>(missing);
  const size_t left = align == '<' ? 0 : align == '^' ? padding / 2 : padding;
  std::string out;
  for (size_t i = 0; i < left; ++i) out += spec.fill;
  out += text;
  for (size_t i = left; i < padding; ++i) out += spec.fill;
  return out;
}

std::string format_integer(int64_t value, const FormatSpec& spec) {
  if (spec.type == 'c') {
    if (value < 0 || value > 0x10ffff) fail("%c arg not in range(0x110000)");
    std::string letter;
    append_utf8(letter, static_cast<char32_t>(value));
    return pad(letter, spec, '<');
  }
  const uint64_t magnitude = value < 0 ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string digits, prefix;
  switch (spec.type) {
    case 'x':
      digits = fmt::format("{:x}", magnitude);
      prefix = "0x";
      break;
    case 'X':
      digits = fmt::format("{:X}", magnitude);
      prefix = "0X";
      break;
    case 'o':
      digits = fmt::format("{:o}", magnitude);
      prefix = "0o";
      break;
    case 'b':
      digits = fmt::format("{:b}", magnitude);
      prefix = "0b";
      break;
    default:
      digits = fmt::format("{}", magnitude);
  }
  const auto least = static_cast<size_t>(spec.precision.value_or(0));
  if (digits.size() < least) digits.insert(0, least - digits.size(), '0');
  return finish_number(value < 0, spec.alternate ? prefix : "", std::move(digits), spec);
}

std::string format_real(double value, const FormatSpec& spec) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  return finish_number(negative, "", real_digits(std::abs(value), spec), spec);
}

bool is_real_type(char type) {
  return type != '\0' && std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}

std::string cut_to_precision(const std::string& text, const FormatSpec& spec) {
  return spec.precision ? std::string(sub_text(text, 0, *spec.precision)) : text;
}

std::string format_value(Meter& meter, const Value& value, const std::string& spec_text) {
  if (spec_text.empty()) return to_text(meter, value);
  FormatSpec spec = parse_spec(spec_text);
  const std::string_view kind = type_name(value);
  const auto refuse = [&] { fail(fmt::format("Unknown format code '{}' for object of type '{}'", spec.type, kind)); };
  if (const std::string* text = value.string()) {
    if ((spec.type != '\0' && spec.type != 's') || spec.sign != '-' || spec.alternate || spec.group != '\0') refuse();
    if (spec.align == '=') fail("'=' alignment not allowed in string format specifier");
    if (spec.zero) spec.fill = "0";
    return pad(cut_to_precision(*text, spec), spec, '<');
  }
  if (!value.is_number()) fail(fmt::format("unsupported format string passed to {}.__format__", kind));
  if (spec.type == 'n') spec.type = value.get<double>() ? 'g' : 'd';
  if (value.get<double>() || is_real_type(spec.type)) {
    if (spec.type != '\0' && !is_real_type(spec.type)) refuse();
    return format_real(as_double(value), spec);
  }
  if (spec.type == 's' || spec.precision) refuse();
  return format_integer(as_int(value, "a number"), spec);
}

}  // namespace echelon::templates
