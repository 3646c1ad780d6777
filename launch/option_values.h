// Texts of a command line to values: whole numbers with K/M/G, ranges, yes/no, lists, and the nearest of some names.
// A bad text throws BadValue, to which the caller adds the flag, variable or line that it came from.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

/// what(): "99999 is out of range: 0 to 65535".
class BadValue : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Range {
  int64_t first = 0, last = 0;
};

/// A whole number. With `suffixes`, vLLM's: K M G T are powers of 1024, k m g t of 1000 (these may have a
/// fraction: 1.5k).
int64_t parse_integer(std::string_view text, Range range, bool suffixes);

/// Bytes: like parse_integer with suffixes, and KiB, MiB, GiB, TiB, KB, MB, GB, TB as powers of 1024.
int64_t parse_bytes(std::string_view text, Range range);

/// A decimal number such as 2.49, 0 to most.
double parse_decimal(std::string_view text, double most);

/// true/false, yes/no, on/off, 1/0 in any case.
bool parse_boolean(std::string_view text);

/// "19,11" -> {19, 11}. Empty items are errors; at most max_items of them.
std::vector<int> parse_integer_list(std::span<const std::string> texts, Range each, size_t max_items);

/// The index of `text` in `names`; otherwise an error that lists them.
size_t parse_choice(std::string_view text, std::span<const std::string_view> names);

/// The name that differs from `text` by the fewest edits, if they are few (two, or a third of its length); otherwise
/// empty.
std::string nearest_name(std::string_view text, const std::vector<std::string>& names);

}  // namespace echelon
