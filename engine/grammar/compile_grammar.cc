// From the kinds of sources to a Grammar.
#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "engine/grammar/answer_grammar.h"
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

RuleId grammar_rule(Expressions& expressions, JsonRules& rules, const GrammarSource& source, Looseness looseness) {
  const auto rule_of = [&](ExpressionId body) {
    const RuleId rule = expressions.add_rule("root");
    expressions.define(rule, body);
    return rule;
  };
  switch (source.kind) {
    case GrammarKind::json_schema:
      return json_schema_rule(expressions, rules, parse_json(source.text));
    case GrammarKind::json_object:
      return rules.object_rule();
    case GrammarKind::regex:
      return rule_of(parse_regex(expressions, source.text, RegexText::utf8, RegexMatch::whole));
    case GrammarKind::choice:
      return rule_of(choice_of(expressions, source.text));
    case GrammarKind::gbnf:
      return parse_gbnf(expressions, source.text);
    case GrammarKind::answer:
      return answer_rule(expressions, rules, parse_json(source.text), looseness);
  }
  throw GrammarError("unknown kind of grammar");
}

std::shared_ptr<const Grammar> compile_grammar(const GrammarSource& source,
                                               std::shared_ptr<const GrammarVocabulary> vocabulary) {
  if (source.text.size() > kMaxGrammarText)
    throw GrammarError(fmt::format("the grammar is longer than {} bytes", kMaxGrammarText));
  const auto compiled = [&](Looseness looseness) {
    Expressions expressions;
    JsonRules rules(expressions);
    const RuleId root = grammar_rule(expressions, rules, source, looseness);
    return std::make_shared<const Grammar>(build_automaton(expressions, root), vocabulary);
  };
  if (source.kind != GrammarKind::answer) return compiled(Looseness::as_asked);
  try {
    return compiled(Looseness::as_asked);
  } catch (const GrammarError&) {
    return compiled(Looseness::all);  // may be too large only because of schemas that need not be kept to
  }
}

}  // namespace echelon
