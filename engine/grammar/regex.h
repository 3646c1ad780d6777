// Regular expressions: the common part of ECMA-262's (which JSON Schema means) and Python's.
//
// Literals, ., classes, \d \w \s and their opposites, groups (capturing or not), alternatives, * + ? {m,n} greedy or
// lazy (which is the same: only what matches counts), ^ and $ at the ends. \d \w \s are ASCII, as in ECMA-262; \S
// leaves out all of Unicode's spaces. Back-references, look-around, word boundaries, flags and \p{..} are a
// GrammarError.
#pragma once

#include <string_view>

#include "engine/grammar/expression.h"

namespace echelon {

enum class RegexText {
  utf8,         ///< the text itself
  json_string,  ///< between the quotes of a JSON string
};
enum class RegexMatch {
  whole,   ///< the expression matches the whole text
  search,  ///< some part of it, but for ^ and $ (JSON Schema's `pattern`)
};

/// Texts that the pattern (valid UTF-8) matches. Throws GrammarError with the place.
ExpressionId parse_regex(Expressions& expressions, std::string_view pattern, RegexText text, RegexMatch match);

}  // namespace echelon
