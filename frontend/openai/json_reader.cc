// Types and ranges of JSON members. Messages follow one pattern: what must hold, and what was found.
#include "frontend/openai/json_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cmath>
#include <limits>

#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

const json::object kNoMembers;

json::object number_shape(const SamplingRange& range, float usual) {
  json::object shape{{"type", "number"},
                     {range.above_min ? "exclusiveMinimum" : "minimum", shortest(range.min)},
                     {"maximum", shortest(range.max)}};
  if (range.or_zero) shape = any_of({json::object{{"const", 0}}, std::move(shape)});
  if (range.has(usual)) shape["default"] = shortest(usual);
  return shape;
}

}  // namespace

double shortest(float number) { return std::stod(fmt::format("{}", number)); }

std::string_view kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
    default:
      return "a number";
  }
}

std::optional<int64_t> as_integer(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) {
    if (value.get_uint64() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(value.get_uint64());
  }
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  constexpr double kExact = 9007199254740992.0;  // 2^53: beyond it a double skips integers
  if (!(std::abs(number) <= kExact) || number != std::floor(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

bool is_identifier(std::string_view text, size_t most, std::string_view more) {
  const auto is_right = [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("_.:-").find(c) != std::string_view::npos || more.find(c) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), is_right);
}

RequestResult<std::vector<TokenId>> read_token_ids(const json::array& array, std::string_view name,
                                                   int64_t vocab_size) {
  std::vector<TokenId> ids;
  ids.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const auto id = as_integer(array[i]);
    if (!id || *id < 0 || *id >= vocab_size)
      return bad_request(name, fmt::format("{}[{}] must be a token id from 0 to {}", name, i, vocab_size - 1));
    ids.push_back(static_cast<TokenId>(*id));
  }
  return ids;
}

JsonReader::JsonReader(const json::object& object, std::string path) : object_(object), path_(std::move(path)) {}

JsonReader::JsonReader(ObjectSchema& schema) : object_(kNoMembers), schema_(&schema) {}

std::string JsonReader::full_name(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

const json::value* JsonReader::find(std::string_view name, std::string_view shape) {
  if (describes()) {
    schema_->add(name, json::parse(shape).as_object());
    return nullptr;
  }
  known_.push_back(name);
  const json::value* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

const json::value& JsonReader::require(std::string_view name, std::string_view shape) {
  static const json::value kNull;
  const json::value* value = find(name, shape);
  if (value != nullptr) return *value;
  if (describes()) schema_->require(name);
  fail(name, fmt::format("{} is missing", full_name(name)), "missing_required_parameter");
  return kNull;
}

void JsonReader::fail(std::string_view name, std::string message, std::string_view code) {
  if (!error_ && !describes()) error_ = bad_request(full_name(name), std::move(message), code);
}

void JsonReader::fail(RequestError error) {
  if (!error_ && !describes()) error_ = std::move(error);
}

void JsonReader::read(std::string_view name, bool& out) {
  const json::value* value = find_shaped(name, [&] { return json::object{{"type", "boolean"}, {"default", out}}; });
  if (value == nullptr) return;
  if (value->is_bool()) {
    out = value->get_bool();
  } else {
    fail(name, fmt::format("{} must be true or false, not {}", full_name(name), kind_name(*value)));
  }
}

void JsonReader::read(std::string_view name, float& out, const SamplingRange& range) {
  const json::value* value = find_shaped(name, [&] { return number_shape(range, out); });
  if (value == nullptr) return;
  if (!value->is_number())
    return fail(name, fmt::format("{} must be a number, not {}", full_name(name), kind_name(*value)));
  const double number = value->to_number<double>();
  const bool fits = std::abs(number) <= std::numeric_limits<float>::max() && range.has(static_cast<float>(number));
  if (!fits) return fail(name, fmt::format("{} must be {}", full_name(name), range.text()));
  out = static_cast<float>(number);
}

void JsonReader::read(std::string_view name, std::string& out) {
  const json::value* value = find_shaped(name, [&] {
    return out.empty() ? json::object{{"type", "string"}} : json::object{{"type", "string"}, {"default", out}};
  });
  if (value == nullptr) return;
  if (value->is_string()) {
    out = value->get_string();
  } else {
    fail(name, fmt::format("{} must be a string, not {}", full_name(name), kind_name(*value)));
  }
}

void JsonReader::read_word(std::string_view name, std::string& out, std::span<const std::string_view> words) {
  const json::value* value = find_shaped(name, [&] { return words_shape(words); });
  if (value == nullptr) return;
  const bool known = value->is_string() && std::find(words.begin(), words.end(), value->get_string()) != words.end();
  if (!known) return fail(name, fmt::format("{} must be one of {}", full_name(name), fmt::join(words, ", ")));
  out = value->get_string();
}

void JsonReader::read(std::string_view name, std::optional<int64_t>& out, int64_t min, int64_t max) {
  const json::value* value = find_shaped(name, [&] { return integer_shape(min, max); });
  if (value == nullptr) return;
  if (!value->is_number()) {
    fail(name, fmt::format("{} must be an integer, not {}", full_name(name), kind_name(*value)));
    return;
  }
  const auto number = as_integer(*value);
  if (number && *number >= min && *number <= max) {
    out = *number;
  } else {
    fail(name, fmt::format("{} must be an integer from {} to {}", full_name(name), min, max));
  }
}

void JsonReader::read(std::string_view name, int& out, int64_t min, int64_t max) {
  std::optional<int64_t> number;
  if (describes()) {
    json::object shape = integer_shape(min, max);
    shape["default"] = out;
    schema_->add(name, std::move(shape));
  }
  read(name, number, min, max);
  if (number) out = static_cast<int>(*number);
}

void JsonReader::read(std::string_view name, std::vector<TokenId>& out, int64_t vocab_size, size_t max_size) {
  const json::value* value = find_shaped(name, [&] { return array_shape(integer_shape(0, vocab_size - 1), max_size); });
  if (value == nullptr) return;
  if (!value->is_array()) {
    fail(name, fmt::format("{} must be an array of token ids, not {}", full_name(name), kind_name(*value)));
    return;
  }
  if (value->get_array().size() > max_size) {
    fail(name, fmt::format("{} has more than {} entries", full_name(name), max_size));
    return;
  }
  auto ids = read_token_ids(value->get_array(), full_name(name), vocab_size);
  if (ids.has_error()) {
    fail(ids.error());
  } else {
    out = std::move(*ids);
  }
}

bool is_array_of(JsonReader& reader, std::string_view name, const json::value& value, const ArrayBounds& bounds) {
  const size_t size = value.is_array() ? value.get_array().size() : 0;
  if (value.is_array() && size >= bounds.least && size <= bounds.most) return true;
  const std::string path = reader.full_name(name);
  if (!value.is_array()) {
    reader.fail(name, fmt::format("{} must be an array of {}, not {}", path, bounds.what, kind_name(value)));
  } else if (size > bounds.most) {
    reader.fail(name, fmt::format("{} has more than {} {}", path, bounds.most, bounds.what));
  } else {
    reader.fail(name, fmt::format("{} must have at least {} of {}", path, bounds.least, bounds.what));
  }
  return false;
}

void JsonReader::refuse_others(std::span<const std::string_view> ignored) {
  if (describes()) {
    for (const std::string_view name : ignored) schema_->add(name, {});
    return;
  }
  const auto contains = [](auto&& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const auto& member : object_) {
    const std::string_view name = member.key();
    if (member.value().is_null() || contains(known_, name) || contains(ignored, name)) continue;
    const std::string shown = shortened(name);
    fail(shown, fmt::format("{} is not a parameter that is supported here", full_name(shown)), "unknown_parameter");
    return;
  }
}

}  // namespace echelon
