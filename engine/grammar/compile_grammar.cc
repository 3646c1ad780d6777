// From the five kinds of sources to a Grammar.
#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "engine/grammar/gbnf.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/regex.h"

namespace echelon {
namespace {

boost::json::value parse_json(std::string_view text) {
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(text, error, {}, {.max_depth = 64});
  if (error) throw GrammarError(fmt::format("not JSON: {}", error.message()));
  return value;
}

ExpressionId choice_of(Expressions& expressions, std::string_view text) {
  const boost::json::value list = parse_json(text);
  if (!list.is_array() || list.get_array().empty()) throw GrammarError("a choice has to be a list of texts");
  std::vector<ExpressionId> parts;
  for (const boost::json::value& each : list.get_array()) {
    if (!each.is_string() || each.get_string().empty()) throw GrammarError("a choice has to be a list of texts");
    parts.push_back(expressions.literal(each.get_string()));
  }
  return expressions.choice(std::move(parts));
}

}  // namespace

std::shared_ptr<const Grammar> compile_grammar(const GrammarSource& source,
                                               std::shared_ptr<const GrammarVocabulary> vocabulary) {
  if (source.text.size() > kMaxGrammarText)
    throw GrammarError(fmt::format("the grammar is longer than {} bytes", kMaxGrammarText));
  Expressions expressions;
  const auto rule_of = [&](ExpressionId body) {
    const RuleId rule = expressions.add_rule("root");
    expressions.define(rule, body);
    return rule;
  };
  RuleId root = 0;
  switch (source.kind) {
    case GrammarKind::json_schema:
      root = json_schema_rule(expressions, parse_json(source.text));
      break;
    case GrammarKind::json_object:
      root = json_object_rule(expressions);
      break;
    case GrammarKind::regex:
      root = rule_of(parse_regex(expressions, source.text, RegexText::utf8, RegexMatch::whole));
      break;
    case GrammarKind::choice:
      root = rule_of(choice_of(expressions, source.text));
      break;
    case GrammarKind::gbnf:
      root = parse_gbnf(expressions, source.text);
      break;
  }
  return std::make_shared<const Grammar>(build_automaton(expressions, root), std::move(vocabulary));
}

}  // namespace echelon
