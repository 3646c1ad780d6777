#include "engine/grammar/schema_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>

namespace echelon {
namespace {

using boost::json::object;
using boost::json::value;

constexpr size_t kMaxBranches = 256;

/// Keywords that say something about values and that no automaton of ours can watch over.
constexpr std::array<std::string_view, 15> kUnsupported = {
    "not",      "if",          "then",        "else",        "dependentRequired", "dependentSchemas", "dependencies",
    "contains", "minContains", "maxContains", "$dynamicRef", "$recursiveRef",     "$anchor",          "$dynamicAnchor",
    "extends"};

const value* find(const object& schema, std::string_view name) { return schema.if_contains(name); }

int64_t count_of(const value& given, std::string_view name) {
  const bool is_whole_double =
      given.is_double() &&
      given.get_double() == static_cast<double>(static_cast<int64_t>(std::clamp(given.get_double(), -1e15, 1e15)));
  const int64_t count = given.is_int64()  ? given.get_int64()
                        : is_whole_double ? static_cast<int64_t>(given.get_double())
                                          : -1;
  if (count < 0) throw GrammarError(fmt::format("schema: \"{}\" has to be a count", name));
  return count;
}

std::string text_of(const value& given, std::string_view name) {
  if (!given.is_string()) throw GrammarError(fmt::format("schema: \"{}\" has to be a string", name));
  return std::string(given.get_string());
}

const boost::json::array& list_of(const value& given, std::string_view name) {
  if (!given.is_array()) throw GrammarError(fmt::format("schema: \"{}\" has to be an array", name));
  return given.get_array();
}

const object& members_of(const value& given, std::string_view name) {
  if (!given.is_object()) throw GrammarError(fmt::format("schema: \"{}\" has to be an object", name));
  return given.get_object();
}

/// true and {} say nothing.
SchemaSet set_of(const value& schema) {
  const bool says_nothing =
      (schema.is_bool() && schema.get_bool()) || (schema.is_object() && schema.get_object().empty());
  return says_nothing ? SchemaSet{} : SchemaSet{&schema};
}

void read_type(const value& type, SchemaBranch& branch) {
  const std::string name = text_of(type, "type");
  constexpr std::pair<std::string_view, uint8_t> kNames[] = {
      {"null", kNull},     {"boolean", kBoolean}, {"number", kNumber}, {"integer", kNumber},
      {"string", kString}, {"array", kArray},     {"object", kObject}};
  const auto found =
      std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& each) { return each.first == name; });
  if (found == std::end(kNames)) throw GrammarError(fmt::format("schema: there is no type \"{}\"", name));
  branch.types |= found->second;
}

void read_types(const object& schema, SchemaBranch& branch) {
  const value* type = find(schema, "type");
  if (type == nullptr) return;
  branch.types = 0;
  bool integer = false, number = false;
  const auto read = [&](const value& each) {
    read_type(each, branch);
    integer |= each == "integer";
    number |= each == "number";
  };
  if (type->is_array()) {
    for (const value& each : type->get_array()) read(each);
  } else {
    read(*type);
  }
  branch.number.integer = integer && !number;  // "integer" beside "number" is "number"
  if (const value* nullable = find(schema, "nullable"); nullable != nullptr && *nullable == true) branch.types |= kNull;
}

NumberBound bound_of(const value& given, bool exclusive) {
  return {.value = decimal_of(given), .exclusive = exclusive};
}

bool read_number(const object& schema, NumberRange& number) {
  bool any = false;
  for (const auto& [name, is_least] : {std::pair("minimum", true), std::pair("maximum", false)}) {
    std::optional<NumberBound>& bound = is_least ? number.least : number.greatest;
    const value* exclusive = find(schema, is_least ? "exclusiveMinimum" : "exclusiveMaximum");
    if (const value* given = find(schema, name)) {
      tighten(bound, bound_of(*given, exclusive != nullptr && *exclusive == true), is_least);  // draft 4's spelling
      any = true;
    }
    if (exclusive != nullptr && !exclusive->is_bool()) {
      tighten(bound, bound_of(*exclusive, true), is_least);
      any = true;
    }
  }
  if (const value* divisor = find(schema, "multipleOf")) {
    number.multiple_of = decimal_of(*divisor);
    if (number.multiple_of->negative || number.multiple_of->is_zero())
      throw GrammarError("schema: \"multipleOf\" has to be above zero");
    any = true;
  }
  return any;
}

bool read_string(const object& schema, StringLimits& string) {
  bool any = false;
  if (const value* given = find(schema, "minLength")) string.min_length = count_of(*given, "minLength"), any = true;
  if (const value* given = find(schema, "maxLength")) string.max_length = count_of(*given, "maxLength"), any = true;
  if (const value* given = find(schema, "pattern")) string.patterns.push_back(text_of(*given, "pattern")), any = true;
  return any;
}

/// Annotations that OpenAPI adds to numbers are no formats of strings.
void read_format(const object& schema, SchemaBranch& branch, bool implies_string) {
  const value* given = find(schema, "format");
  if (given == nullptr) return;
  const std::string format = text_of(*given, "format");
  constexpr std::array<std::string_view, 9> kAnnotations = {"int32", "int64",  "float",    "double", "decimal",
                                                            "byte",  "binary", "password", "regex"};
  if (std::find(kAnnotations.begin(), kAnnotations.end(), format) != kAnnotations.end()) return;
  if ((branch.types & kString) != 0 || implies_string) branch.string.formats.push_back(format);
}

bool read_array(const object& schema, SchemaBranch& branch) {
  bool any = false;
  if (const value* given = find(schema, "prefixItems")) {
    for (const value& each : list_of(*given, "prefixItems")) branch.prefix_items.push_back(set_of(each));
    any = true;
  }
  if (const value* given = find(schema, "items")) {
    if (given->is_array()) {  // draft 7's spelling of prefixItems
      for (const value& each : given->get_array()) branch.prefix_items.push_back(set_of(each));
      if (const value* more = find(schema, "additionalItems")) {
        if (*more == false) {
          branch.no_more_items = true;
        } else {
          branch.items = set_of(*more);
        }
      }
    } else if (*given == false) {
      branch.no_more_items = true;
    } else {
      branch.items = set_of(*given);
    }
    any = true;
  }
  if (const value* given = find(schema, "unevaluatedItems");
      given != nullptr && *given == false && !find(schema, "items"))
    branch.no_more_items = any = true;
  if (const value* given = find(schema, "minItems")) branch.min_items = count_of(*given, "minItems"), any = true;
  if (const value* given = find(schema, "maxItems")) branch.max_items = count_of(*given, "maxItems"), any = true;
  if (const value* given = find(schema, "uniqueItems");
      given != nullptr && *given == true && branch.max_items != 1 && branch.max_items != 0)
    throw GrammarError("schema: \"uniqueItems\" cannot be enforced");
  return any;
}

bool read_object(const object& schema, SchemaBranch& branch) {
  bool any = false;
  if (const value* given = find(schema, "properties")) {
    for (const auto& [name, each] : members_of(*given, "properties"))
      branch.properties.emplace_back(std::string(name), set_of(each));
    any = true;
  }
  if (const value* given = find(schema, "patternProperties")) {
    for (const auto& [pattern, each] : members_of(*given, "patternProperties"))
      branch.pattern_properties.emplace_back(std::string(pattern), set_of(each));
    any = true;
  }
  if (const value* given = find(schema, "required"); given != nullptr && !given->is_bool()) {
    for (const value& name : list_of(*given, "required")) branch.required.insert(text_of(name, "required"));
    any = true;
  }
  if (const value* given = find(schema, "additionalProperties")) {
    if (*given == false) {
      branch.no_additional = true;
    } else {
      branch.additional = set_of(*given);
    }
    any = true;
  }
  if (const value* given = find(schema, "unevaluatedProperties"); given != nullptr && given->is_object())
    throw GrammarError("schema: \"unevaluatedProperties\" is supported as true or false only");
  if (const value* given = find(schema, "propertyNames")) branch.property_names = set_of(*given), any = true;
  if (const value* given = find(schema, "minProperties"))
    branch.min_properties = count_of(*given, "minProperties"), any = true;
  if (const value* given = find(schema, "maxProperties"))
    branch.max_properties = count_of(*given, "maxProperties"), any = true;
  return any;
}

bool has_type(const value& given, uint8_t types, bool integer) {
  switch (given.kind()) {
    case boost::json::kind::null:
      return (types & kNull) != 0;
    case boost::json::kind::bool_:
      return (types & kBoolean) != 0;
    case boost::json::kind::int64:
    case boost::json::kind::uint64:
      return (types & kNumber) != 0;
    case boost::json::kind::double_:
      return (types & kNumber) != 0 && (!integer || decimal_of(given).fraction.empty());
    case boost::json::kind::string:
      return (types & kString) != 0;
    case boost::json::kind::array:
      return (types & kArray) != 0;
    case boost::json::kind::object:
      return (types & kObject) != 0;
  }
  return false;
}

/// What holds of both sides. Refused as soon as it is too much: each side may have kMaxBranches.
std::vector<SchemaBranch> product(const std::vector<SchemaBranch>& left, const std::vector<SchemaBranch>& right) {
  std::vector<SchemaBranch> both;
  for (const SchemaBranch& a : left) {
    for (const SchemaBranch& b : right) {
      if (std::optional<SchemaBranch> branch = merged(a, b)) both.push_back(std::move(*branch));
      if (both.size() > kMaxBranches)
        throw GrammarError(fmt::format("schema: more than {} combinations of alternatives", kMaxBranches));
    }
  }
  return both;
}

}  // namespace

bool SchemaReader::has_reference(const SchemaSet& schemas) {
  return std::any_of(schemas.begin(), schemas.end(), [](const value* each) {
    if (!each->is_object()) return false;
    const object& schema = each->get_object();
    if (schema.contains("$ref")) return true;
    for (const std::string_view name : {"allOf", "anyOf", "oneOf"}) {
      const value* parts = find(schema, name);
      if (parts == nullptr || !parts->is_array()) continue;
      for (const value& part : parts->get_array()) {
        if (has_reference({&part})) return true;
      }
    }
    return false;
  });
}

const value& SchemaReader::target_of(std::string_view reference) const {
  const auto fail = [&](std::string_view why) {
    return GrammarError(fmt::format("schema: \"$ref\": \"{}\" {}", reference, why));
  };
  if (!reference.starts_with('#')) throw fail("is not inside of this schema");
  std::string pointer;
  for (size_t i = 1; i < reference.size(); ++i) {  // %41 is A
    const auto digit = [&](size_t at) {
      return at < reference.size() ? std::string_view("0123456789abcdef").find(static_cast<char>(reference[at] | 0x20))
                                   : std::string_view::npos;
    };
    const size_t high = digit(i + 1), low = digit(i + 2);
    if (reference[i] == '%' && high != std::string_view::npos && low != std::string_view::npos) {
      pointer += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      pointer += reference[i];
    }
  }
  boost::system::error_code error;
  const value* target = pointer.empty() ? &document_ : document_.find_pointer(pointer, error);
  if (target == nullptr || error) throw fail("leads nowhere");
  return *target;
}

std::vector<SchemaBranch> SchemaReader::branches(const SchemaSet& schemas) {
  std::vector<SchemaBranch> result(1);
  for (const value* schema : schemas) result = product(result, branches_of(*schema));
  return result;
}

std::vector<SchemaBranch> SchemaReader::branches_of(const value& schema) {
  if (schema.is_bool()) return schema.get_bool() ? std::vector<SchemaBranch>(1) : std::vector<SchemaBranch>();
  if (!schema.is_object()) throw GrammarError("schema: a schema has to be an object, true or false");
  if (std::find(open_.begin(), open_.end(), &schema) != open_.end())
    throw GrammarError("schema: a schema that is nothing but itself");
  open_.push_back(&schema);
  const object& members = schema.get_object();
  std::vector<SchemaBranch> result{keywords_of(members)};
  const auto restrict_to = [&](const std::vector<SchemaBranch>& others) { result = product(result, others); };
  if (const value* reference = find(members, "$ref")) restrict_to(branches_of(target_of(text_of(*reference, "$ref"))));
  if (const value* all = find(members, "allOf")) {
    for (const value& each : list_of(*all, "allOf")) restrict_to(branches_of(each));
  }
  for (const std::string_view name : {"anyOf", "oneOf"}) {
    const value* any = find(members, name);
    if (any == nullptr) continue;
    std::vector<SchemaBranch> alternatives;
    for (const value& each : list_of(*any, name)) {
      for (SchemaBranch& branch : branches_of(each)) alternatives.push_back(std::move(branch));
      if (alternatives.size() > kMaxBranches)
        throw GrammarError(fmt::format("schema: more than {} alternatives", kMaxBranches));
    }
    restrict_to(alternatives);
  }
  open_.pop_back();
  return result;
}

SchemaBranch SchemaReader::keywords_of(const object& schema) {
  for (const std::string_view name : kUnsupported) {
    if (schema.contains(name)) throw GrammarError(fmt::format("schema: \"{}\" cannot be enforced", name));
  }
  SchemaBranch branch;
  read_types(schema, branch);
  uint8_t implied = 0;
  if (read_number(schema, branch.number)) implied |= kNumber;
  if (read_string(schema, branch.string)) implied |= kString;
  if (read_array(schema, branch)) implied |= kArray;
  if (read_object(schema, branch)) implied |= kObject;
  const bool has_type_of_its_own = schema.contains("type");
  read_format(schema, branch, !has_type_of_its_own && implied == 0);
  if (!branch.string.formats.empty()) implied |= kString;
  if (const value* given = find(schema, "const")) branch.values = {*given};
  if (const value* given = find(schema, "enum")) {
    std::vector<value> values;
    for (const value& each : list_of(*given, "enum")) {
      if (!branch.values || (*branch.values)[0] == each) values.push_back(each);
    }
    branch.values = std::move(values);
  }
  // Keywords of a type without that type are meant for values of it.
  if (!has_type_of_its_own && implied != 0 && !branch.values) branch.types = implied;
  if (branch.values)
    std::erase_if(*branch.values,
                  [&](const value& each) { return !has_type(each, branch.types, branch.number.integer); });
  return branch;
}

}  // namespace echelon
