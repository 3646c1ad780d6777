// Reads the Prometheus text format, version 0.0.4, as any server may write it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace echelon {

struct MetricSample {
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;  ///< unescaped
  double value = 0;                                         ///< may be NaN or infinite
  /// Empty when there is none.
  std::string_view label(std::string_view wanted) const;
};

/// Comments and time stamps are left out. Throws Error(Part::launch) that names the line that is none, and for more
/// than a million samples.
std::vector<MetricSample> parse_metrics(std::string_view text);

}  // namespace echelon
