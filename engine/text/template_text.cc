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

constexpr int kMaxNamespacePrints = 20;

/// A backslash, the letter and so many hexadecimal digits.
void append_escape(std::string& out, char letter, uint32_t value, int num_digits) {
  out += '\\';
  out += letter;
  for (int i = num_digits - 1; i >= 0; --i) out += "0123456789abcdef"[(value >> (4 * i)) & 0xf];
}

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
    } else {
      append_escape(out, c < 0x100 ? 'x' : c < 0x10000 ? 'u' : 'U', c, c < 0x100 ? 2 : c < 0x10000 ? 4 : 8);
    }
    at += point.num_bytes;
  }
  out += quote;
}

void append_items_repr(Meter& meter, std::string& out, const ListData& list) {
  if (list.kind == ListKind::range) {
    const auto [begin, end, step] = list.range;
    out += step == 1 ? fmt::format("range({}, {})", begin, end) : fmt::format("range({}, {}, {})", begin, end, step);
    return;
  }
  const bool tuple = list.kind == ListKind::tuple;
  const bool view = list.kind != ListKind::list && list.kind != ListKind::generator && !tuple;
  if (view) out += fmt::format("{}(", type_name(Value(ListRef(ListRef(), &list))));
  out += tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(meter, out, list.items[i]);
  }
  if (tuple && list.items.size() == 1) out += ',';
  out += tuple ? ')' : ']';
  if (view) out += ')';
}

void append_dict_repr(Meter& meter, std::string& out, const std::vector<std::pair<Value, Value>>& items) {
  out += '{';
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(meter, out, items[i].first);
    out += ": ";
    append_repr(meter, out, items[i].second);
  }
  out += '}';
}

/// A namespace may hold itself, which values cannot: the nesting is counted.
void append_namespace_repr(Meter& meter, std::string& out, const Namespace& names) {
  if (names.printing >= kMaxNamespacePrints) fail("a namespace holds itself");
  ++names.printing;
  std::vector<std::pair<Value, Value>> items;
  for (const auto& [name, value] : names.attributes) items.emplace_back(Value(name), value);
  out += "<Namespace ";
  append_dict_repr(meter, out, items);
  out += '>';
  --names.printing;
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
      append_escape(out, 'u', 0xd800 + (rest >> 10), 4);
      append_escape(out, 'u', 0xdc00 + (rest & 0x3ff), 4);
    } else if (c < 0x20 || (ascii_only && c > 0x7e)) {
      append_escape(out, 'u', c, 4);
    } else {
      append_utf8(out, c);
    }
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(Meter& meter, std::string& out, const JsonStyle& style) : meter_(meter), out_(out), style_(style) {}

  void write(const Value& value) {
    meter_.charge(1);
    check_text_size(out_.size());
    if (const std::string* text = value.string()) return write_text(*text);
    const ListData* list = value.list();
    if (list && (list->kind == ListKind::list || list->kind == ListKind::tuple)) return write_list(*list);
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

  void write_text(const std::string& text) {
    meter_.charge_points(text.size());
    append_json_string(out_, text, style_.ascii_only);
  }

  void new_line() {
    if (!style_.multiline) return;
    meter_.charge_text(static_cast<size_t>(level_) * style_.indent.size());
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
                       [this](const auto* a, const auto* b) { return compare(meter_, a->first, b->first) < 0; });
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
      write_text(key.string() ? *key.string() : scalar(key));
      out_ += style_.key_separator;
      write(entries[i]->second);
    }
    --level_;
    new_line();
    out_ += '}';
  }

  Meter& meter_;
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

void append_repr(Meter& meter, std::string& out, const Value& value) {
  meter.charge(1);
  check_text_size(out.size());
  if (const std::string* text = value.string()) {
    meter.charge_points(text->size());
    if (value.is_markup()) out += "Markup(";
    append_string_repr(out, *text);
    if (value.is_markup()) out += ')';
    return;
  }
  if (const ListData* list = value.list()) return append_items_repr(meter, out, *list);
  if (const DictData* dict = value.dict()) return append_dict_repr(meter, out, dict->items);
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
  } else if (Namespace* const* names = value.get<Namespace*>()) {
    append_namespace_repr(meter, out, **names);
  } else if (const auto* loop = value.get<std::shared_ptr<const LoopState>>()) {
    out += fmt::format("<LoopContext {}/{}>", (*loop)->index + 1, (*loop)->items->items.size());
  } else {
    fail(fmt::format("a {} cannot be printed", type_name(value)));
  }
}

std::string to_text(Meter& meter, const Value& value) {
  if (value.is_undefined()) return {};
  if (const std::string* text = value.string()) return *text;
  std::string out;
  append_repr(meter, out, value);
  return out;
}

std::string to_json(Meter& meter, const Value& value, const JsonStyle& style) {
  std::string out;
  JsonWriter(meter, out, style).write(value);
  return out;
}

}  // namespace echelon::templates
