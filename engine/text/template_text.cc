// Values as text: str(), repr() and json.dumps(), to the byte.
// Which characters repr escapes comes from the Unicode tables (str.isprintable).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/text/template_value.h"
#include "engine/text/unicode.h"
#include "engine/text/utf8.h"

namespace echelon::templates {

namespace {

void append_string_repr(std::string& out, const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const char32_t c = point.value;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (unicode::is_printable(c)) {
      append_utf8(out, c);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
    at += point.num_bytes;
  }
  out += quote;
}

void append_items_repr(std::string& out, const ListData& list) {
  const bool tuple = list.kind == ListKind::tuple;
  out += tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(out, list.items[i]);
  }
  if (tuple && list.items.size() == 1) out += ',';
  out += tuple ? ')' : ']';
}

void append_json_string(std::string& out, const std::string& text, bool ascii_only) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = read_code_point(text, at);
    const char32_t c = point.value;
    at += point.num_bytes;
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\f':
        out += "\\f";
        continue;
      case '\b':
        out += "\\b";
        continue;
      default:
        break;
    }
    if (c >= 0x10000 && ascii_only) {
      const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
    } else if (c < 0x20 || (ascii_only && c > 0x7e)) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      append_utf8(out, c);
    }
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(std::string& out, const JsonStyle& style) : out_(out), style_(style) {}

  void write(const Value& value) {
    if (const std::string* text = value.string()) return append_json_string(out_, *text, style_.ascii_only);
    if (const ListData* list = value.list(); list && list->kind != ListKind::generator) return write_list(*list);
    if (const DictData* dict = value.dict()) return write_dict(*dict);
    if (value.is_none() || value.is_number()) {
      out_ += scalar(value);
      return;
    }
    fail(fmt::format("Object of type {} is not JSON serializable", type_name(value)));
  }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* flag = value.get<bool>()) return *flag ? "true" : "false";
    if (const int64_t* number = value.get<int64_t>()) return std::to_string(*number);
    const double number = *value.get<double>();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
    return float_repr(number);
  }

  void new_line() {
    if (!style_.multiline) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += style_.indent;
  }

  void write_list(const ListData& list) {
    if (list.items.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      write(list.items[i]);
    }
    --level_;
    new_line();
    out_ += ']';
  }

  void write_dict(const DictData& dict) {
    if (dict.items.empty()) {
      out_ += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.items) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const auto* a, const auto* b) { return compare(a->first, b->first) < 0; });
    }
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      const Value& key = entries[i]->first;
      if (!key.string() && !key.is_none() && !key.is_number()) {
        fail(fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
      }
      append_json_string(out_, key.string() ? *key.string() : scalar(key), style_.ascii_only);
      out_ += style_.key_separator;
      write(entries[i]->second);
    }
    --level_;
    new_line();
    out_ += '}';
  }

  std::string& out_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const size_t digits_from = e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(text.data() + digits_from, text.data() + text.size(), exponent);
  const bool negative = text.front() == '-';
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  std::string out(negative ? 1 : 0, '-');
  const auto put = [&](size_t from, size_t to) { out.append(digits, from, to - from); };
  if (exponent < -4 || exponent >= 16) {
    put(0, 1);
    if (digits.size() > 1) out += '.';
    put(1, digits.size());
    return out += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) {
    out.append("0.").append(static_cast<size_t>(-exponent - 1), '0');
    put(0, digits.size());
    return out;
  }
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  put(0, whole);
  out += '.';
  put(whole, digits.size());
  return digits.size() == whole ? out += '0' : out;
}

void append_repr(std::string& out, const Value& value) {
  if (const std::string* text = value.string()) return append_string_repr(out, *text);
  if (const ListData* list = value.list()) return append_items_repr(out, *list);
  if (const DictData* dict = value.dict()) {
    out += '{';
    for (size_t i = 0; i < dict->items.size(); ++i) {
      if (i > 0) out += ", ";
      append_repr(out, dict->items[i].first);
      out += ": ";
      append_repr(out, dict->items[i].second);
    }
    out += '}';
    return;
  }
  if (value.is_none()) {
    out += "None";
  } else if (const bool* flag = value.get<bool>()) {
    out += *flag ? "True" : "False";
  } else if (const int64_t* integer = value.get<int64_t>()) {
    out += std::to_string(*integer);
  } else if (const double* number = value.get<double>()) {
    out += float_repr(*number);
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    fail(fmt::format("a {} cannot be printed", type_name(value)));
  }
}

std::string to_text(const Value& value) {
  if (value.is_undefined()) return {};
  if (const std::string* text = value.string()) return *text;
  std::string out;
  append_repr(out, value);
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style) {
  std::string out;
  JsonWriter(out, style).write(value);
  return out;
}

}  // namespace echelon::templates
