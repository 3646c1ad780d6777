// Two passes over a JSON text: one that checks syntax, depth and that no key occurs twice (Boost.JSON keeps the last
// one silently), then Boost.JSON's own document.
#include "engine/weights/json_file.h"

#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "engine/weights/mapped_file.h"
#include "engine/weights/printable.h"
#include "kernels/base/error.h"

namespace echelon {
namespace json = boost::json;
namespace {

json::parse_options options() {
  json::parse_options out;
  out.max_depth = kMaxJsonDepth;
  return out;
}

/// Handler of basic_parser: keeps the keys of the objects that are open.
struct KeyChecker {
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_key_size = kMaxJsonBytes;
  static constexpr size_t max_string_size = kMaxJsonBytes;
  using Code = json::error_code;

  std::vector<std::unordered_set<std::string>> open_objects;
  std::string key;
  std::string duplicate;

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code&) {
    open_objects.emplace_back();
    return true;
  }
  bool on_object_end(size_t, Code&) {
    open_objects.pop_back();
    return true;
  }
  bool on_array_begin(Code&) { return true; }
  bool on_array_end(size_t, Code&) { return true; }
  bool on_key_part(json::string_view part, size_t, Code&) {
    key.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, size_t, Code& error) {
    key.append(part.data(), part.size());
    if (!open_objects.back().insert(key).second) {
      duplicate = key;
      error = json::error::exception;
    }
    key.clear();
    return duplicate.empty();
  }
  bool on_string_part(json::string_view, size_t, Code&) { return true; }
  bool on_string(json::string_view, size_t, Code&) { return true; }
  bool on_number_part(json::string_view, Code&) { return true; }
  bool on_int64(int64_t, json::string_view, Code&) { return true; }
  bool on_uint64(uint64_t, json::string_view, Code&) { return true; }
  bool on_double(double, json::string_view, Code&) { return true; }
  bool on_bool(bool, Code&) { return true; }
  bool on_null(Code&) { return true; }
  bool on_comment_part(json::string_view, Code&) { return true; }
  bool on_comment(json::string_view, Code&) { return true; }
};

std::string_view kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
  }
  return "unknown";
}

std::optional<int64_t> to_int(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (!(std::abs(number) <= kExact) || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::optional<double> to_float(const json::value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

std::optional<std::string> to_text(const json::value& value) {
  if (!value.is_string()) return std::nullopt;
  return std::string(value.get_string().data(), value.get_string().size());
}

/// The elements of a list, or a scalar as a list of one; nullopt when an element does not convert.
template <typename T>
std::optional<std::vector<T>> to_list(const json::value& value, std::optional<T> (*convert)(const json::value&)) {
  std::vector<T> out;
  if (!value.is_array()) {
    auto single = convert(value);
    if (!single) return std::nullopt;
    out.push_back(*std::move(single));
    return out;
  }
  for (const json::value& element : value.get_array()) {
    auto converted = convert(element);
    if (!converted) return std::nullopt;
    out.push_back(*std::move(converted));
  }
  return out;
}

}  // namespace

const json::value* JsonObject::find_value(std::string_view key) const {
  const json::value* value = object_->if_contains(json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

void JsonObject::wrong_type(std::string_view key, const json::value& value, std::string_view expected) const {
  throw Error(Part::weights,
              fmt::format("{}: \"{}\" is {}; {} is needed", where_, printable(key), kind_name(value), expected));
}

template <typename T>
T JsonObject::required(std::string_view key, std::optional<T> value, std::string_view expected) const {
  if (!value) throw Error(Part::weights, fmt::format("{}: \"{}\" ({}) is missing", where_, printable(key), expected));
  return *std::move(value);
}

std::optional<int64_t> JsonObject::find_int(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  const auto out = to_int(*value);
  if (!out) wrong_type(key, *value, "an integer of 64 bits");
  return out;
}

std::optional<double> JsonObject::find_float(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  const auto out = to_float(*value);
  if (!out) wrong_type(key, *value, "a number");
  return out;
}

std::optional<bool> JsonObject::find_bool(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) wrong_type(key, *value, "a boolean");
  return value->get_bool();
}

std::optional<std::string> JsonObject::find_string(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  auto out = to_text(*value);
  if (!out) wrong_type(key, *value, "a string");
  return out;
}

std::optional<JsonObject> JsonObject::find_object(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) wrong_type(key, *value, "an object");
  return JsonObject(fmt::format("{}: {}", where_, printable(key)), document_, value->get_object());
}

std::optional<std::vector<int64_t>> JsonObject::find_ints(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  auto out = to_list<int64_t>(*value, to_int);
  if (!out) wrong_type(key, *value, "an integer or a list of integers");
  return out;
}

std::optional<std::vector<double>> JsonObject::find_floats(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  auto out = to_list<double>(*value, to_float);
  if (!out) wrong_type(key, *value, "a number or a list of numbers");
  return out;
}

std::optional<std::vector<std::string>> JsonObject::find_strings(std::string_view key) const {
  const json::value* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  auto out = to_list<std::string>(*value, to_text);
  if (!out) wrong_type(key, *value, "a string or a list of strings");
  return out;
}

int64_t JsonObject::get_int(std::string_view key) const { return required(key, find_int(key), "an integer"); }
double JsonObject::get_float(std::string_view key) const { return required(key, find_float(key), "a number"); }
bool JsonObject::get_bool(std::string_view key) const { return required(key, find_bool(key), "a boolean"); }
std::string JsonObject::get_string(std::string_view key) const { return required(key, find_string(key), "a string"); }
JsonObject JsonObject::get_object(std::string_view key) const { return required(key, find_object(key), "an object"); }
std::vector<std::string> JsonObject::get_strings(std::string_view key) const {
  return required(key, find_strings(key), "a list of strings");
}

JsonObject parse_json_object(std::string_view text, const std::string& where) {
  if (text.size() > kMaxJsonBytes) {
    throw Error(Part::weights,
                fmt::format("{}: {} bytes of JSON; at most {} are allowed", where, text.size(), kMaxJsonBytes));
  }
  json::error_code error;
  json::basic_parser<KeyChecker> checker(options());
  const size_t consumed = checker.write_some(false, text.data(), text.size(), error);
  if (!checker.handler().duplicate.empty()) {
    throw Error(Part::weights,
                fmt::format("{}: the key \"{}\" occurs twice", where, printable(checker.handler().duplicate)));
  }
  if (error) {
    throw Error(Part::weights, fmt::format("{}: not valid JSON at byte {}: {}", where, consumed, error.message()));
  }
  auto document = std::make_shared<const json::value>(
      json::parse(json::string_view(text.data(), text.size()), error, json::storage_ptr(), options()));
  if (error) throw Error(Part::weights, fmt::format("{}: not valid JSON: {}", where, error.message()));
  if (!document->is_object()) {
    throw Error(Part::weights, fmt::format("{}: the document is {}; an object is needed", where, kind_name(*document)));
  }
  const json::object& object = document->get_object();
  return {where, std::move(document), object};
}

JsonObject read_json_file(const std::string& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return parse_json_object({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

}  // namespace echelon
