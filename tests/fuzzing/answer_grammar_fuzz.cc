// Tools of clients: calls with their schemas in an answer of several parts, and a choice. Two bytes say what there is;
// then a schema, the format of the content and what the walk chooses, with lines "--" between them.
#include <boost/json/parse.hpp>

#include "frontend/parts/answer_parts.h"
#include "tests/fuzzing/grammar_walk.h"

namespace echelon::fuzzing {
namespace {

std::optional<GrammarSource> source_of(unsigned which, unsigned bits, std::string_view schema,
                                       std::string_view format) {
  const auto names = call_syntax_names();
  which %= names.size() + 2;
  if (which > names.size()) return GrammarSource{.kind = GrammarKind::choice, .text = std::string(schema)};
  AnswerParts parts;
  if ((bits & 1) != 0) parts.reasoning.emplace().is_open = (bits & 2) != 0;
  if (which < names.size()) {
    boost::system::error_code fault;
    const boost::json::value value = boost::json::parse(schema, fault);
    if (fault || !value.is_object()) return std::nullopt;
    parts.calls = call_syntax(names[which]);
    parts.tools = {{.name = "get", .parameters = value.get_object(), .strict = (bits & 4) != 0}, {.name = "set"}};
    parts.only_calls = (bits & 8) != 0;
    parts.only_one_call = (bits & 16) != 0;
  }
  if (!parts.has_parts()) return std::nullopt;
  const unsigned kind = bits >> 5;
  if (kind > static_cast<unsigned>(GrammarKind::gbnf)) return answer_grammar(parts, std::nullopt);
  return answer_grammar(parts, GrammarSource{.kind = static_cast<GrammarKind>(kind), .text = std::string(format)});
}

void run(std::string_view input) {
  Pieces pieces(input);
  const unsigned which = pieces.byte(), bits = pieces.byte();
  const std::string_view schema = pieces.until("\n--\n"), format = pieces.until("\n--\n");
  const auto source = source_of(which, bits, schema, format);
  if (!source) return;
  try {
    walk(compile_grammar(*source, walk_vocabulary()), pieces.rest());
  } catch (const GrammarError&) {
  }
}

std::vector<std::string> seeds() {
  const std::string schema = R"({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]})";
  return {"\x01\xe7" + schema + "\n--\n\n--\nabcdef", "\x01\x45" + schema + "\n--\na+|b\n--\n\x01\x02",
          "\x02\xff" + schema + "\n--\n\n--\n12",     "\x03\x21{}\n--\n\n--\nab",
          "\x04\x41\n--\n[a-z]{2}\n--\nab",           "\x05 [\"a\", \"ab\", \"abé\", \"null\"]\n--\n\n--\nab"};
}

const Target target("answer_grammar", run, seeds,
                    {"\n--\n", "\"type\"", "\"object\"", "\"properties\"", "\"additionalProperties\"", "\"$ref\"",
                     "\"#\"", "\"anyOf\"", "\"enum\"", "\"pattern\"", "root ::= ", "<tool_call>", "</think>", "true",
                     "null", "{}", "[\"\"]"});

}  // namespace
}  // namespace echelon::fuzzing
