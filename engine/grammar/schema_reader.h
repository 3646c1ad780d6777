// JSON Schema (draft 2020-12) as alternatives that are easy to write down: $ref, allOf, anyOf and oneOf are resolved,
// keywords that meet are merged. oneOf is read as anyOf.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/json_numbers.h"
#include "engine/grammar/json_strings.h"

namespace echelon {

/// Types of JSON values as bits; integer is a part of number.
enum JsonType : uint8_t {
  kNull = 1,
  kBoolean = 2,
  kNumber = 4,
  kString = 8,
  kArray = 16,
  kObject = 32,
  kAllTypes = 63,
};

/// Schemas of the document that hold at the same time; none: anything is right. Without repetition.
using SchemaSet = std::vector<const boost::json::value*>;

/// What a value may be, without any "or" but that of types and listed values.
struct SchemaBranch {
  uint8_t types = kAllTypes;
  std::optional<std::vector<boost::json::value>> values;  ///< enum and const: one of these
  NumberRange number;
  StringLimits string;

  std::vector<SchemaSet> prefix_items;
  SchemaSet items;  ///< those behind prefix_items
  bool no_more_items = false;
  int64_t min_items = 0, max_items = kUnbounded;

  std::vector<std::pair<std::string, SchemaSet>> properties;  ///< in the order of the document
  std::set<std::string> required;
  std::vector<std::pair<std::string, SchemaSet>> pattern_properties;
  std::optional<SchemaSet> additional;  ///< of properties that are not listed; absent: not said
  bool no_additional = false;           ///< additionalProperties: false
  SchemaSet property_names;
  int64_t min_properties = 0, max_properties = kUnbounded;
};

class SchemaReader {
 public:
  /// The document is borrowed.
  explicit SchemaReader(const boost::json::value& document) : document_(document) {}

  /// A value is right when one of the branches says so. Throws GrammarError for keywords that cannot be enforced, for a
  /// $ref that leads nowhere or only to itself, and for too many branches.
  std::vector<SchemaBranch> branches(const SchemaSet& schemas);
  /// Is there a $ref to be followed in one of them, or in what allOf, anyOf and oneOf put together?
  static bool has_reference(const SchemaSet& schemas);

 private:
  std::vector<SchemaBranch> branches_of(const boost::json::value& schema);
  SchemaBranch keywords_of(const boost::json::object& schema);
  const boost::json::value& target_of(std::string_view reference) const;

  const boost::json::value& document_;
  std::vector<const boost::json::value*> open_;  ///< schemas being read
};

/// Both at once; nothing when no value can be right for both.
std::optional<SchemaBranch> merged(const SchemaBranch& a, const SchemaBranch& b);

}  // namespace echelon
