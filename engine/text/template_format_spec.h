// One value written by a format specification, Python's: what "%5.1f" and "{:>5.1f}" come down to. Internal to this
// folder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/text/template_value.h"

namespace echelon::templates {

inline constexpr int64_t kMaxWidth = 10'000;
inline constexpr int64_t kMaxPrecision = 300;

/// [[fill]align][sign][#][0][width][,][.precision][type]
struct FormatSpec {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  int64_t width = 0;
  char group = '\0';
  std::optional<int64_t> precision;
  char type = '\0';
};

/// Digits at `at`, or nullopt; moves `at` behind them. Fails above `most`.
std::optional<int64_t> read_number(std::string_view text, size_t& at, int64_t most);
std::string pad(const std::string& text, const FormatSpec& spec, char default_align);
std::string format_integer(int64_t value, const FormatSpec& spec);
std::string format_real(double value, const FormatSpec& spec);
/// One of eEfFgG%.
bool is_real_type(char type);
std::string cut_to_precision(const std::string& text, const FormatSpec& spec);
/// format(value, spec).
std::string format_value(Meter& meter, const Value& value, const std::string& spec);

}  // namespace echelon::templates
