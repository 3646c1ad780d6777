// What two branches of a schema allow together, keyword by keyword.
#include <algorithm>

#include "engine/grammar/schema_reader.h"

namespace echelon {
namespace {

using boost::json::value;

int64_t least_limit(int64_t a, int64_t b) { return a == kUnbounded ? b : b == kUnbounded ? a : std::min(a, b); }

SchemaSet united(SchemaSet a, const SchemaSet& b) {
  for (const value* each : b) {
    if (std::find(a.begin(), a.end(), each) == a.end()) a.push_back(each);
  }
  return a;
}

void append(std::vector<std::string>& all, const std::vector<std::string>& more) {
  for (const std::string& each : more) {
    if (std::find(all.begin(), all.end(), each) == all.end()) all.push_back(each);
  }
}

/// Properties of `of` as `other` limits them; false when a required one may not be there.
bool add_properties(SchemaBranch& result, const SchemaBranch& of, const SchemaBranch& other) {
  for (const auto& [name, schemas] : of.properties) {
    const auto is_it = [&name = name](const auto& each) { return each.first == name; };
    if (std::find_if(result.properties.begin(), result.properties.end(), is_it) != result.properties.end()) continue;
    const auto found = std::find_if(other.properties.begin(), other.properties.end(), is_it);
    SchemaSet both = schemas;
    if (found != other.properties.end()) {
      both = united(both, found->second);
    } else if (!other.pattern_properties.empty()) {
      throw GrammarError("schema: \"patternProperties\" cannot be combined with another schema's properties");
    } else if (other.no_additional) {
      if (result.required.contains(name)) return false;
      continue;
    } else if (other.additional) {
      both = united(both, *other.additional);
    }
    result.properties.emplace_back(name, std::move(both));
  }
  return true;
}

bool merge_objects(SchemaBranch& result, const SchemaBranch& a, const SchemaBranch& b) {
  result.required = a.required;
  result.required.insert(b.required.begin(), b.required.end());
  result.properties.clear();
  if (!add_properties(result, a, b) || !add_properties(result, b, a)) return false;
  result.pattern_properties = a.pattern_properties;
  result.pattern_properties.insert(result.pattern_properties.end(), b.pattern_properties.begin(),
                                   b.pattern_properties.end());
  result.no_additional = a.no_additional || b.no_additional;
  if (b.additional) result.additional = united(a.additional.value_or(SchemaSet{}), *b.additional);
  result.property_names = united(a.property_names, b.property_names);
  result.min_properties = std::max(a.min_properties, b.min_properties);
  result.max_properties = least_limit(a.max_properties, b.max_properties);
  return true;
}

void merge_arrays(SchemaBranch& result, const SchemaBranch& a, const SchemaBranch& b) {
  const auto item = [](const SchemaBranch& branch, size_t i) {
    return i < branch.prefix_items.size() ? branch.prefix_items[i] : branch.items;
  };
  result.prefix_items.clear();
  result.min_items = std::max(a.min_items, b.min_items);
  result.max_items = least_limit(a.max_items, b.max_items);
  for (const SchemaBranch* each : {&a, &b}) {
    if (each->no_more_items)
      result.max_items = least_limit(result.max_items, static_cast<int64_t>(each->prefix_items.size()));
  }
  for (size_t i = 0; i < std::max(a.prefix_items.size(), b.prefix_items.size()); ++i)
    result.prefix_items.push_back(united(item(a, i), item(b, i)));
  result.items = united(a.items, b.items);
  result.no_more_items = a.no_more_items || b.no_more_items;
}

}  // namespace

std::optional<SchemaBranch> merged(const SchemaBranch& a, const SchemaBranch& b) {
  SchemaBranch result = a;
  result.types = a.types & b.types;
  NumberRange& number = result.number;
  number.integer = a.number.integer || b.number.integer;
  if (b.number.least) tighten(number.least, *b.number.least, true);
  if (b.number.greatest) tighten(number.greatest, *b.number.greatest, false);
  if (b.number.multiple_of) {
    if (number.multiple_of && compare(*number.multiple_of, *b.number.multiple_of) != 0)
      throw GrammarError("schema: two different \"multipleOf\" hold at the same time");
    number.multiple_of = b.number.multiple_of;
  }
  result.string.min_length = std::max(a.string.min_length, b.string.min_length);
  result.string.max_length = least_limit(a.string.max_length, b.string.max_length);
  append(result.string.patterns, b.string.patterns);
  append(result.string.formats, b.string.formats);
  merge_arrays(result, a, b);
  if (!merge_objects(result, a, b)) result.types &= static_cast<uint8_t>(~kObject);
  if (b.values) {
    result.values = *b.values;
    if (a.values)
      std::erase_if(*result.values, [&](const value& each) {
        return std::find(a.values->begin(), a.values->end(), each) == a.values->end();
      });
  }
  if (result.types == 0 || (result.values && result.values->empty())) return std::nullopt;
  return result;
}

}  // namespace echelon
