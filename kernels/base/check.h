// Our own bugs: a broken invariant ends the process with the rank, the place and the expression, in release builds too.
// Nothing that a client, a file or another host sends may reach a check: such input gets an Error or a value (error.h).
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace echelon {

/// Prints "rank R: check failed: EXPR (FILE:LINE) MESSAGE" to stderr and calls std::abort.
[[noreturn]] void check_failed(const char* expression, const char* file, int line, std::string_view message);

/// The rank that messages of this process name; -1 (printed as "no rank") until set. Set once, at start.
void set_process_rank(int rank);
int process_rank();

}  // namespace echelon

/// ECHELON_CHECK(expression) or ECHELON_CHECK(expression, "format {}", arguments...).
#define ECHELON_CHECK(expression, ...)                                                             \
  do {                                                                                             \
    if (!(expression)) [[unlikely]] {                                                              \
      ::echelon::check_failed(#expression, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__));     \
    }                                                                                              \
  } while (false)
