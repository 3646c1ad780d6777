// JSON texts that a JSON Schema allows.
//
// What a schema leaves open is decided for texts that end and that every parser reads alike, always within what the
// schema allows: properties come in the order of the schema; what is not listed may be there only where the schema says
// so, or lists nothing; between tokens stands nothing, a space, or a newline and at most 20 blanks; numbers and escapes
// as json_numbers.h and json_strings.h say. Keywords that cannot be watched over are a GrammarError that names them.
#pragma once

#include <boost/json/value.hpp>

#include "engine/grammar/expression.h"
#include "engine/grammar/json_rules.h"

namespace echelon {

/// Draft 2020-12, and older spellings of the same. `rules` are those of `expressions`. Returns the root rule.
RuleId json_schema_rule(Expressions& expressions, JsonRules& rules, const boost::json::value& schema);

}  // namespace echelon
