// JSON schemas of clients, as grammars.
#include "tests/fuzzing/grammar_walk.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) { run_grammar(GrammarKind::json_schema, input); }

std::vector<std::string> seeds() {
  return {
      R"({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}, "b": {"type": "integer", "minimum": -5, )"
      R"("maximum": 100}}, "required": ["a"], "additionalProperties": false})"
      "\n--\nabcdef",
      R"({"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1, "maxItems": 3, "$defs": {"x": {"anyOf": [{"type": )"
      R"("null"}, {"const": "y"}, {"type": "array", "items": {"$ref": "#/$defs/x"}}]}}})"
      "\n--\n\x01\x02\x03",
      R"({"type": "string", "pattern": "^[a-c]{2,4}(x|\\d+)?$", "minLength": 1})",
      R"({"type": "string", "format": "date-time"})",
      R"({"allOf": [{"type": "number", "exclusiveMinimum": -1.5, "multipleOf": 0.5}, {"oneOf": [{"maximum": 7}, {"enum": [1, 2.5]}]}]})",
      R"({"prefixItems": [{"type": "boolean"}, {"enum": ["a", 1, null, {"k": []}]}], "items": false})",
      R"({"type": "object", "patternProperties": {"^a": {"type": "null"}}, "propertyNames": {"maxLength": 4}, "minProperties": 1, )"
      R"("maxProperties": 2, "additionalProperties": {"type": ["string", "null"]}})",
      "true",
      "{}"};
}

const Target target("json_schema", run, seeds,
                    {"\n--\n",
                     "\"type\"",
                     "\"object\"",
                     "\"array\"",
                     "\"string\"",
                     "\"number\"",
                     "\"integer\"",
                     "\"boolean\"",
                     "\"null\"",
                     "\"properties\"",
                     "\"required\"",
                     "\"additionalProperties\"",
                     "\"patternProperties\"",
                     "\"propertyNames\"",
                     "\"minProperties\"",
                     "\"maxProperties\"",
                     "\"items\"",
                     "\"prefixItems\"",
                     "\"minItems\"",
                     "\"maxItems\"",
                     "\"uniqueItems\"",
                     "\"contains\"",
                     "\"minLength\"",
                     "\"maxLength\"",
                     "\"pattern\"",
                     "\"format\"",
                     "\"minimum\"",
                     "\"maximum\"",
                     "\"exclusiveMinimum\"",
                     "\"exclusiveMaximum\"",
                     "\"multipleOf\"",
                     "\"enum\"",
                     "\"const\"",
                     "\"anyOf\"",
                     "\"allOf\"",
                     "\"oneOf\"",
                     "\"not\"",
                     "\"$ref\"",
                     "\"#\"",
                     "\"#/$defs/x\"",
                     "\"$defs\"",
                     "\"definitions\"",
                     "\"uuid\"",
                     "\"date\"",
                     "\"email\"",
                     "\"ipv4\"",
                     "\"uri\"",
                     "false",
                     "true",
                     "null",
                     "1e308",
                     "-1",
                     "9223372036854775807",
                     "0.1",
                     "{}",
                     "[]"});

}  // namespace
}  // namespace echelon::fuzzing
