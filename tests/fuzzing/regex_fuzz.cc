// Regular expressions of clients, as grammars.
#include "engine/text/utf8.h"
#include "tests/fuzzing/grammar_walk.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) { run_grammar(GrammarKind::regex, input); }

std::vector<std::string> seeds() {
  return {"(a|ab|\xc3\xa9)*[^a-z]{2,3}\n--\nabc",
          "^\\d{3}-\\w+(?:\\s\\S)?$\n--\n\x01\x02",
          ".*",
          "[\\u00e9-\\u4e2d\\x41]+?\\.",
          "(?P<n>a{0,20}){3,}|\\t\\n\\[",
          "(((x?){2}){2}){2}",
          "[^\\s\\D]{1,4}\\/"};
}

const Target target("regex", run, seeds, {"\n--\n",     "(?:",
                                          "(?=",        "(?P<n>",
                                          "(?i)",       "[^",
                                          "\\d",        "\\W",
                                          "\\s",        "\\b",
                                          "\\1",        "\\p{L}",
                                          "\\u{1F600}", "\\uD83D\\uDE00",
                                          "\\xff",      "\\cA",
                                          "\\0",        "{1000}",
                                          "{2,}",       "{0,3}",
                                          "*?",         "+?",
                                          "??",         "++",
                                          "|",          "^",
                                          "$",          "[a-z]",
                                          "[\\w-]",     "[]",
                                          "[^]",        "\xf0\x9f\x98\x80"});

}  // namespace
}  // namespace echelon::fuzzing
