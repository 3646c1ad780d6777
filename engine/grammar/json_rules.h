// JSON as rules that do not depend on a schema: written once for all schemas of a grammar.
#pragma once

#include "engine/grammar/expression.h"

namespace echelon {

class JsonRules {
 public:
  /// Adds its rules.
  explicit JsonRules(Expressions& expressions);

  ExpressionId space() { return e_.rule(space_); }
  ExpressionId string() { return e_.rule(string_); }
  ExpressionId number() { return e_.rule(number_); }
  ExpressionId value() { return e_.rule(value_); }
  ExpressionId array() { return e_.rule(array_); }
  ExpressionId object() { return e_.rule(object_); }
  RuleId object_rule() const { return object_; }

  ExpressionId comma() { return e_.sequence({e_.literal(","), space()}); }
  ExpressionId member(ExpressionId key, ExpressionId what) {
    return e_.sequence({key, e_.literal(":"), space(), what});
  }
  ExpressionId brackets(char open, ExpressionId inside, char close);
  /// min to max of `item` with commas, each with the space behind it.
  ExpressionId list(char open, ExpressionId item, char close, int min, int max);

 private:
  Expressions& e_;
  RuleId space_, string_, number_, value_, array_, object_;
};

}  // namespace echelon
