// What a text may be, as a tree over bytes: the common form that regular expressions, GBNF grammars, choices and JSON
// schemas become before they are an Automaton. Rules may refer to each other, so the language is context-free; what
// stands below an intersection or a difference must be regular.
//
// An arena: nodes refer to earlier nodes by index and are never changed. One thread.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/byte_set.h"

namespace echelon {

/// A grammar that cannot be enforced, or not within the limits: told to whoever sent it.
struct GrammarError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A grammar that no text fits.
struct NoTextError : GrammarError {
  using GrammarError::GrammarError;
};

using ExpressionId = int32_t;
using RuleId = int32_t;
inline constexpr int kUnbounded = -1;
/// Nodes of one grammar; more are a GrammarError.
inline constexpr size_t kMaxExpressions = size_t{1} << 18;
inline constexpr size_t kMaxRules = 4096;

struct Expression {
  enum class Kind : uint8_t {
    nothing,       ///< no text
    empty,         ///< the empty text
    bytes,         ///< one byte of `bytes`
    sequence,      ///< parts, one after the other
    choice,        ///< any of the parts
    repeat,        ///< parts[0], min to max times
    rule,          ///< what `rule` says
    intersection,  ///< what both parts match
    difference,    ///< what parts[0] matches and parts[1] does not
  };
  Kind kind = Kind::nothing;
  ByteSet bytes;
  std::vector<ExpressionId> parts;
  int min = 0, max = kUnbounded;
  RuleId rule = -1;
};

class Expressions {
 public:
  ExpressionId nothing() { return add({.kind = Expression::Kind::nothing}); }
  ExpressionId empty() { return add({.kind = Expression::Kind::empty}); }
  ExpressionId bytes(const ByteSet& set);
  ExpressionId literal(std::string_view text);
  ExpressionId sequence(std::vector<ExpressionId> parts);
  ExpressionId choice(std::vector<ExpressionId> parts);
  /// 0 <= min <= max, or max is kUnbounded.
  ExpressionId repeat(ExpressionId part, int min, int max);
  ExpressionId optional(ExpressionId part) { return choice({part, empty()}); }
  ExpressionId rule(RuleId rule);
  ExpressionId intersection(ExpressionId a, ExpressionId b);
  ExpressionId difference(ExpressionId from, ExpressionId without);

  /// A rule without a definition matches nothing until it is defined.
  RuleId add_rule(std::string name);
  void define(RuleId rule, ExpressionId body) { rules_.at(static_cast<size_t>(rule)).body = body; }
  ExpressionId body(RuleId rule) const { return rules_.at(static_cast<size_t>(rule)).body; }
  const std::string& name(RuleId rule) const { return rules_.at(static_cast<size_t>(rule)).name; }
  int num_rules() const { return static_cast<int>(rules_.size()); }

  const Expression& operator[](ExpressionId id) const { return nodes_.at(static_cast<size_t>(id)); }
  const std::vector<Expression>& nodes() const { return nodes_; }

 private:
  struct Rule {
    std::string name;
    ExpressionId body = -1;
  };
  ExpressionId add(Expression node);

  std::vector<Expression> nodes_;
  std::vector<Rule> rules_;
};

}  // namespace echelon
