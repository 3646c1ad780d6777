// JSON numbers between bounds, as expressions over their digits.
//
// Numbers have at most 16 digits before the point and 16 behind it, and an exponent of two digits only where there is
// no bound: a model that has begun a number has to come to its end.
#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <string>

#include "engine/grammar/expression.h"

namespace echelon {

/// A decimal number, exactly.
struct Decimal {
  bool negative = false;
  std::string whole = "0";  ///< no leading zeros, at least one digit
  std::string fraction;     ///< no trailing zeros
  bool is_zero() const { return whole == "0" && fraction.empty(); }
};

/// The value as written by its shortest form; throws GrammarError for what is not a finite number.
Decimal decimal_of(const boost::json::value& number);
std::string text_of(const Decimal& decimal);
/// < 0, 0, > 0
int compare(const Decimal& a, const Decimal& b);

struct NumberBound {
  Decimal value;
  bool exclusive = false;
};

/// Makes `bound` the stricter of two. is_least: bounds from below.
void tighten(std::optional<NumberBound>& bound, const NumberBound& other, bool is_least);

struct NumberRange {
  bool integer = false;  ///< written without a point
  std::optional<NumberBound> least, greatest;
  std::optional<Decimal> multiple_of;  ///< > 0
};

/// But for multiple_of.
bool contains(const NumberRange& range, const Decimal& value);

/// Throws GrammarError for a multiple_of that is neither a power of ten nor a divisor of 1000.
ExpressionId number_in(Expressions& expressions, const NumberRange& range);

}  // namespace echelon
