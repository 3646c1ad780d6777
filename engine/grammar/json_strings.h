// Strings of JSON under a schema's keywords, as expressions; with their quotes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/expression.h"

namespace echelon {

struct StringLimits {
  int64_t min_length = 0, max_length = kUnbounded;  ///< in code points
  std::vector<std::string> patterns;                ///< all of them have to match some part
  std::vector<std::string> formats;
  bool has_any() const { return min_length > 0 || max_length != kUnbounded || !patterns.empty() || !formats.empty(); }
};

/// Any string.
ExpressionId any_string(Expressions& expressions);
/// Only quote, backslash and control characters are escaped. Throws GrammarError for a format that is not known or a
/// pattern that is not supported.
ExpressionId limited_string(Expressions& expressions, const StringLimits& limits);
/// A given string, spelled in one way.
std::string quoted(std::string_view text);

}  // namespace echelon
