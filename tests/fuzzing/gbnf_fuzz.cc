// Grammars of clients in GBNF.
#include "tests/fuzzing/grammar_walk.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) { run_grammar(GrammarKind::gbnf, input); }

std::vector<std::string> seeds() {
  return {"root ::= item+ \"1\"\nitem ::= \"a\" item? \"b\" | [^ab1] | \"(\" root \")\"\n--\nabc",
          "# c\nroot ::= (ws \"x\"){2,3} . \nws ::= [ \\t\\n]*\n--\n\x01\x02",
          "root ::= a | b\na ::= \"\\x41\\u00e9\\U0001F600\"\nb ::= \"\"",
          "root ::= \"a\" root | \"b\" root \"e\" | \"1\"",
          "root ::= x{0,4} y{3}\nx ::= [a-fA-F0-9\\]\\-\\^]\ny ::= x | y2\ny2 ::= \"z\""};
}

const Target target("gbnf", run, seeds,
                    {"\n--\n", "root ::= ", "::=",     "\n  | ",      "[^",   "[a-z]", "{1,3}", "{1000}",
                     "{2,}",   "\\x41",     "\\u00e9", "\\U0001F600", "\\\"", "\\\\",  "# c\n", "( ",
                     " )",     "\"\"",      "\"a\"",   "root",        "+",    "*",     "?",     "."});

}  // namespace
}  // namespace echelon::fuzzing
