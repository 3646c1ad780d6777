// What `echelon simulate` prints, and its plot. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "engine/planner/simulate.h"

namespace echelon {

struct SimulateRow {
  double offered = 0;  ///< clients, or requests a second
  Simulated result;
};

struct SimulateReport {
  std::string title;          ///< the model, and on what
  std::string device_source;  ///< where the times come from
  std::string offered_name;   ///< "clients" or "requests/s"
  LayoutSizes sizes;
  Load load;
  int num_requests = 0;
  std::vector<SimulateRow> rows;
};

std::string simulate_text(const SimulateReport& report);
std::string simulate_json(const SimulateReport& report);
/// Three plots over what was offered: output tokens a second, TTFT and ITL (p50 and p99).
std::string simulate_svg(const SimulateReport& report);

}  // namespace echelon
