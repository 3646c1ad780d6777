// The automaton against the expressions it was made from, on random expressions and texts.
#include "engine/grammar/automaton.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/grammar/configurations.h"
#include "tests/engine/grammar/reference.h"

namespace echelon {
namespace {

using testing::HasSubstr;

bool runs(const Automaton& automaton, std::string_view text) {
  Configurations configurations(automaton);
  Configurations::Id at = configurations.closed({.state = automaton.start, .stack = kBottom});
  for (const char c : text) {
    at = configurations.step(at, static_cast<uint8_t>(c));
    if (at == Configurations::kNone) return false;
  }
  return configurations.may_end(at);
}

class RandomGrammar {
 public:
  explicit RandomGrammar(uint64_t seed) : random_(seed) {
    const int num_rules = 1 + below(4);
    for (int i = 0; i < num_rules; ++i) rules.push_back(e.add_rule("r"));
    // A rule calls later ones anywhere, and any one behind a byte: no left recursion.
    for (int i = 0; i < num_rules; ++i) e.define(rules[static_cast<size_t>(i)], make(4, i + 1, true));
  }
  std::string text() {
    std::string result;
    for (int n = below(9); n > 0; --n) result += static_cast<char>('a' + below(3));
    return result;
  }

  Expressions e;
  std::vector<RuleId> rules;

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  ExpressionId byte_set() {
    ByteSet set;
    for (int n = 1 + below(2); n > 0; --n) set.insert(static_cast<uint8_t>('a' + below(3)));
    return e.bytes(set);
  }
  ExpressionId make(int depth, int first_rule, bool may_call) {
    const int kind = depth == 0 ? below(2) : below(10);
    const int num_rules = static_cast<int>(rules.size());
    switch (kind) {
      case 0:
        return e.empty();
      case 1:
      case 2:
        return byte_set();
      case 3:
      case 4:
        return e.sequence({make(depth - 1, first_rule, may_call), make(depth - 1, first_rule, may_call)});
      case 5:
        return e.choice({make(depth - 1, first_rule, may_call), make(depth - 1, first_rule, may_call)});
      case 6: {
        const int min = below(3);
        return e.repeat(make(depth - 1, first_rule, may_call), min, below(2) == 0 ? kUnbounded : min + below(3));
      }
      case 7:
        if (!may_call || first_rule >= num_rules) return byte_set();
        return e.rule(rules[static_cast<size_t>(first_rule + below(num_rules - first_rule))]);
      case 8:
        if (!may_call) return byte_set();
        return e.sequence({byte_set(), e.rule(rules[static_cast<size_t>(below(num_rules))])});
      default: {
        const ExpressionId a = make(depth - 1, first_rule, false), b = make(depth - 1, first_rule, false);
        return below(2) == 0 ? e.intersection(a, b) : e.difference(a, b);
      }
    }
  }
  std::mt19937_64 random_;
};

TEST(Automaton, AgreesWithItsExpressions) {
  int num_matches = 0, num_grammars = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    RandomGrammar grammar(seed);
    std::optional<Automaton> automaton;
    try {
      automaton = build_automaton(grammar.e, grammar.rules[0]);
      ++num_grammars;
    } catch (const NoTextError&) {
    }
    for (int i = 0; i < 40; ++i) {
      const std::string text = grammar.text();
      const bool expected = ReferenceMatcher(grammar.e, text).matches(grammar.rules[0]);
      ASSERT_EQ(automaton && runs(*automaton, text), expected) << "seed " << seed << " \"" << text << '"';
      num_matches += expected;
    }
  }
  EXPECT_GT(num_grammars, 3000);
  EXPECT_GT(num_matches, 8000);
}

/// From every state that a text can lead to, some text leads to an end.
TEST(Automaton, LeadsNowhereDead) {
  std::mt19937_64 random(1);
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    RandomGrammar grammar(seed);
    try {
      const Automaton automaton = build_automaton(grammar.e, grammar.rules[0]);
      Configurations configurations(automaton);
      Configurations::Id at = configurations.closed({.state = automaton.start, .stack = kBottom});
      for (int i = 0; i < 50; ++i) {
        std::vector<Configurations::Id> next;
        for (int c = 'a'; c <= 'c'; ++c) {
          if (const auto to = configurations.step(at, static_cast<uint8_t>(c)); to != Configurations::kNone)
            next.push_back(to);
        }
        ASSERT_TRUE(!next.empty() || configurations.may_end(at)) << "seed " << seed;
        if (next.empty()) break;
        at = next[random() % next.size()];
      }
    } catch (const NoTextError&) {
    }
  }
}

std::string refusal_of(const Expressions& expressions, RuleId root) {
  try {
    build_automaton(expressions, root);
    return "";
  } catch (const GrammarError& error) {
    return error.what();
  }
}

TEST(Automaton, RefusesWhatItCannotRun) {
  Expressions e;
  const RuleId a = e.add_rule("a"), b = e.add_rule("b");
  e.define(b, e.optional(e.literal("x")));
  e.define(a, e.choice({e.sequence({e.rule(b), e.rule(a), e.literal("y")}), e.literal("z")}));
  EXPECT_THAT(refusal_of(e, a), HasSubstr("\"a\" is left-recursive"));

  Expressions endless;
  const RuleId loop = endless.add_rule("loop");
  endless.define(loop, endless.sequence({endless.literal("x"), endless.rule(loop)}));
  EXPECT_THAT(refusal_of(endless, loop), HasSubstr("matches no text"));

  Expressions nested;
  const RuleId rule = nested.add_rule("r");
  const ExpressionId recursive = nested.choice(
      {nested.literal("x"), nested.sequence({nested.literal("("), nested.rule(rule), nested.literal(")")})});
  nested.define(rule, nested.intersection(recursive, nested.literal("x")));
  EXPECT_THAT(refusal_of(nested, rule), HasSubstr("recursive where only a regular expression can stand"));

  Expressions large;  // 2^60 states
  const RuleId many = large.add_rule("many");
  const ExpressionId any = large.bytes(ByteSet::range('a', 'b'));
  large.define(many, large.sequence({large.repeat(any, 0, kUnbounded), large.literal("a"), large.repeat(any, 60, 60)}));
  EXPECT_THAT(refusal_of(large, many), HasSubstr("too"));
}

TEST(Configurations, ForgetsWhatIsNotNeeded) {
  Expressions e;
  const RuleId list = e.add_rule("list");
  e.define(list, e.sequence({e.literal("["), e.repeat(e.rule(list), 0, kUnbounded), e.literal("]")}));
  const Automaton automaton = build_automaton(e, list);
  Configurations configurations(automaton);
  Configurations::Id at = configurations.closed({.state = automaton.start, .stack = kBottom});
  for (const char c : std::string_view("[[][[][][[")) at = configurations.step(at, static_cast<uint8_t>(c));
  const size_t before = configurations.size_bytes();
  configurations = configurations.extracted(at);
  EXPECT_LT(configurations.size_bytes(), before);
  for (const char c : std::string_view("]]]")) {
    at = configurations.step(at, static_cast<uint8_t>(c));
    ASSERT_NE(at, Configurations::kNone);
    EXPECT_FALSE(configurations.may_end(at));
  }
  at = configurations.step(at, ']');
  ASSERT_NE(at, Configurations::kNone);
  EXPECT_TRUE(configurations.may_end(at));
}

/// The depth of calls is limited: deeper texts are refused, nothing breaks.
TEST(Configurations, LimitsCallsInEachOther) {
  Expressions e;
  const RuleId list = e.add_rule("list");
  e.define(list, e.sequence({e.literal("["), e.repeat(e.rule(list), 0, kUnbounded), e.literal("]")}));
  const Automaton automaton = build_automaton(e, list);
  EXPECT_TRUE(runs(automaton, std::string(500, '[') + std::string(500, ']')));
  EXPECT_FALSE(runs(automaton, std::string(5000, '[') + std::string(5000, ']')));
}

}  // namespace
}  // namespace echelon
