#include "engine/grammar/json_rules.h"

#include <algorithm>

#include "engine/grammar/json_numbers.h"
#include "engine/grammar/json_strings.h"

namespace echelon {
namespace {

constexpr int kMaxIndent = 20;

}  // namespace

JsonRules::JsonRules(Expressions& expressions) : e_(expressions) {
  space_ = e_.add_rule("whitespace");
  string_ = e_.add_rule("string");
  number_ = e_.add_rule("number");
  value_ = e_.add_rule("value");
  array_ = e_.add_rule("array");
  object_ = e_.add_rule("object");
  ByteSet blanks = ByteSet::single(' ');
  blanks.insert('\t');
  e_.define(space_, e_.choice({e_.empty(), e_.literal(" "),
                               e_.sequence({e_.literal("\n"), e_.repeat(e_.bytes(blanks), 0, kMaxIndent)})}));
  e_.define(string_, any_string(e_));
  e_.define(number_, number_in(e_, {}));
  e_.define(array_, list('[', value(), ']', 0, kUnbounded));
  e_.define(object_, list('{', member(string(), value()), '}', 0, kUnbounded));
  e_.define(value_, e_.choice({object(), array(), string(), number(), e_.literal("true"), e_.literal("false"),
                               e_.literal("null")}));
}

ExpressionId JsonRules::brackets(char open, ExpressionId inside, char close) {
  return e_.sequence({e_.literal({&open, 1}), space(), inside, e_.literal({&close, 1})});
}

ExpressionId JsonRules::list(char open, ExpressionId item, char close, int min, int max) {
  if (max == 0) return brackets(open, e_.empty(), close);
  const ExpressionId more =
      e_.repeat(e_.sequence({comma(), item, space()}), std::max(min - 1, 0), max == kUnbounded ? max : max - 1);
  const ExpressionId some = e_.sequence({item, space(), more});
  return brackets(open, min == 0 ? e_.optional(some) : some, close);
}

}  // namespace echelon
