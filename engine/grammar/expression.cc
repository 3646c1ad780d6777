#include "engine/grammar/expression.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/base/check.h"

namespace echelon {

ExpressionId Expressions::add(Expression node) {
  if (nodes_.size() >= kMaxExpressions) throw GrammarError("the grammar is too large");
  nodes_.push_back(std::move(node));
  return static_cast<ExpressionId>(nodes_.size()) - 1;
}

ExpressionId Expressions::bytes(const ByteSet& set) { return add({.kind = Expression::Kind::bytes, .bytes = set}); }

ExpressionId Expressions::literal(std::string_view text) {
  std::vector<ExpressionId> parts;
  parts.reserve(text.size());
  for (const char c : text) parts.push_back(bytes(ByteSet::single(static_cast<uint8_t>(c))));
  return sequence(std::move(parts));
}

ExpressionId Expressions::sequence(std::vector<ExpressionId> parts) {
  if (parts.size() == 1) return parts.front();
  if (parts.empty()) return empty();
  return add({.kind = Expression::Kind::sequence, .parts = std::move(parts)});
}

ExpressionId Expressions::choice(std::vector<ExpressionId> parts) {
  if (parts.size() == 1) return parts.front();
  if (parts.empty()) return nothing();
  return add({.kind = Expression::Kind::choice, .parts = std::move(parts)});
}

ExpressionId Expressions::repeat(ExpressionId part, int min, int max) {
  ECHELON_CHECK(min >= 0 && (max == kUnbounded || max >= min), "{} {}", min, max);
  if (max == 0) return empty();
  if (min == 1 && max == 1) return part;
  return add({.kind = Expression::Kind::repeat, .parts = {part}, .min = min, .max = max});
}

ExpressionId Expressions::rule(RuleId rule) {
  ECHELON_CHECK(rule >= 0 && rule < num_rules());
  return add({.kind = Expression::Kind::rule, .rule = rule});
}

ExpressionId Expressions::intersection(ExpressionId a, ExpressionId b) {
  return add({.kind = Expression::Kind::intersection, .parts = {a, b}});
}

ExpressionId Expressions::difference(ExpressionId from, ExpressionId without) {
  return add({.kind = Expression::Kind::difference, .parts = {from, without}});
}

RuleId Expressions::add_rule(std::string name) {
  if (rules_.size() >= kMaxRules) throw GrammarError("the grammar has too many rules");
  rules_.push_back({.name = std::move(name)});
  return static_cast<RuleId>(rules_.size()) - 1;
}

}  // namespace echelon
