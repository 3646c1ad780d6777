#include "frontend/openai/object_schema.h"

#include <algorithm>
#include <utility>

namespace echelon {
namespace {

namespace json = boost::json;

/// `shape`, or null.
json::object or_null(json::object shape) {
  if (shape.empty()) return shape;
  json::value* type = shape.if_contains("type");
  if (type != nullptr && *type == "null") return shape;
  if (type != nullptr && type->is_string()) {
    *type = json::array{*type, "null"};
    if (json::value* words = shape.if_contains("enum")) words->as_array().emplace_back(nullptr);
    return shape;
  }
  json::value* alternatives = shape.if_contains("anyOf");
  if (alternatives != nullptr) {
    alternatives->as_array().push_back(json::object{{"type", "null"}});
    return shape;
  }
  return any_of({std::move(shape), json::object{{"type", "null"}}});
}

}  // namespace

void ObjectSchema::add(std::string_view name, json::object shape) {
  json::value& member = members_[name];
  if (member.is_null() || member.as_object().empty()) member = std::move(shape);
}

void ObjectSchema::require(std::string_view name) {
  add(name, {});
  if (std::find(required_.begin(), required_.end(), json::value(name)) == required_.end()) required_.emplace_back(name);
}

void ObjectSchema::add_case(ObjectSchema one) { cases_.push_back(std::move(one)); }

json::object ObjectSchema::take_one() && {
  for (auto& member : members_) {
    const bool required = std::find(required_.begin(), required_.end(), json::value(member.key())) != required_.end();
    if (!required) member.value() = or_null(std::move(member.value().as_object()));
  }
  json::object schema{{"type", "object"}, {"properties", std::move(members_)}};
  if (!required_.empty()) schema["required"] = std::move(required_);
  if (!is_open_) schema["additionalProperties"] = false;
  return schema;
}

json::object ObjectSchema::take() && {
  if (cases_.empty()) return std::move(*this).take_one();
  json::array alternatives;
  for (ObjectSchema& one : cases_) {
    for (const auto& member : members_) one.add(member.key(), member.value().as_object());
    for (const json::value& name : required_) one.require(name.as_string());
    one.is_open_ |= is_open_;
    alternatives.push_back(std::move(one).take());
  }
  return any_of(std::move(alternatives));
}

json::object array_shape(json::object items, size_t most, size_t least) {
  json::object shape{{"type", "array"}, {"items", std::move(items)}, {"maxItems", most}};
  if (least > 0) shape["minItems"] = least;
  return shape;
}

json::object integer_shape(int64_t min, int64_t max) {
  return {{"type", "integer"}, {"minimum", min}, {"maximum", max}};
}

json::object any_of(json::array alternatives) { return {{"anyOf", std::move(alternatives)}}; }

}  // namespace echelon
