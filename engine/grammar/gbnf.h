// GBNF, the notation for grammars of llama.cpp (and of vLLM's `grammar`): rules `name ::= alternatives`.
//
// Literals "..", classes [a-z] and [^..], ., groups, alternatives, * + ? {m,n}, names of rules, # comments. Escapes are
// \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH. A rule goes on to the next `name ::=`. Rules may be recursive, but
// not at their left.
#pragma once

#include <string_view>

#include "engine/grammar/expression.h"

namespace echelon {

/// Adds the rules; returns "root". Throws GrammarError with the line.
RuleId parse_gbnf(Expressions& expressions, std::string_view text);

}  // namespace echelon
