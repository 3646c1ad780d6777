// Answers of several parts: reasoning, then text or the calls of tools. How a model writes them stands in a JSON
// description:
//
//   {"reasoning": {"begin": "<think>", "end": "</think>", "is_open": false},
//    "content": {"kind": 2, "text": "a+"},
//    "calls": {"trigger": "<tool_call>", "open": [""], "separator": "\n", "close": "", "only_one": false,
//              "tags": [{"begin": "<tool_call>..", "schema": {..}, "end": "..", "strict": true, "name": "tools[0]"}]},
//    "control": ["[TOOL_CALLS]"]}
//
// reasoning    absent: the model does none. is_open: the prompt has begun it. Behind `end` may stand blanks.
// content      absent: there have to be calls. null: any text that does not look like the beginning of a call: has no
//              `trigger`, or, without one, does not begin as the first call would. Else a GrammarKind and its text;
//              then there are either calls or this.
// calls        one of `open`, a tag, more of them behind `separator` unless only_one, `close`. A tag is `begin`, a
// value
//              of `schema`, `end`. Nothing follows the last one.
// control      texts that may be control tokens of the model; wherever they stand in the above, either will do
#pragma once

#include <boost/json/value.hpp>

#include "engine/grammar/expression.h"
#include "engine/grammar/json_rules.h"

namespace echelon {

/// Which schemas of calls become any object.
enum class Looseness {
  as_asked,  ///< those that are not strict and cannot be enforced
  all,       ///< those that are not strict
};

/// Returns the root rule. Throws GrammarError, with the name of the tag for a strict schema that cannot be enforced.
RuleId answer_rule(Expressions& expressions, JsonRules& rules, const boost::json::value& description,
                   Looseness looseness);

struct GrammarSource;
/// Of any source (compile_grammar.cc).
RuleId grammar_rule(Expressions& expressions, JsonRules& rules, const GrammarSource& source, Looseness looseness);

}  // namespace echelon
