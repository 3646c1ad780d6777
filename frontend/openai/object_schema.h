// The JSON Schema (draft 2020-12) of an object, written by a JsonReader that is asked for its members: /openapi.json
// says what the readers take because they say it themselves.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace echelon {

/// Plain data of one thread.
class ObjectSchema {
 public:
  /// A member and what it may be; {} is anything. The first shape that says something stays.
  void add(std::string_view name, boost::json::object shape);
  void require(std::string_view name);
  /// One of several kinds of this object: `one` has the members that the others have not.
  void add_case(ObjectSchema one);
  /// Members that are not known here are taken as they are.
  void allow_others() { is_open_ = true; }

  /// The schema. Members that are not required may be null; null equals absent.
  boost::json::object take() &&;

 private:
  boost::json::object take_one() &&;

  boost::json::object members_;
  boost::json::array required_;
  std::vector<ObjectSchema> cases_;
  bool is_open_ = false;
};

/// A parameter of a query, and what it may be, as JSON Schema.
struct QueryParameter {
  std::string_view name, shape;
};

/// {"type": "string", "enum": words}
template <typename Words>
boost::json::object words_shape(const Words& words) {
  boost::json::array list;
  for (const std::string_view word : words) list.emplace_back(word);
  return {{"type", "string"}, {"enum", std::move(list)}};
}

/// {"type": "array", "items": items, "maxItems": most}
boost::json::object array_shape(boost::json::object items, size_t most, size_t least = 0);

/// {"type": "integer", ..}
boost::json::object integer_shape(int64_t min, int64_t max);

/// {"anyOf": alternatives}
boost::json::object any_of(boost::json::array alternatives);

}  // namespace echelon
