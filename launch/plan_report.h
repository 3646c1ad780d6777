// What `echelon plan` found, as text for a person and as JSON for a program.
#pragma once

#include <string>
#include <vector>

#include "engine/planner/plan.h"

namespace echelon {

struct PlanReport {
  std::string model, family;
  Device device;
  RankHosts hosts;
  Load load;             ///< concurrency is set
  int max_num_seqs = 0;  ///< of a replica
  double cost_per_rank_hour = 0;
  std::vector<LayoutPlan> layouts;       ///< best first; at least one
  LayoutSizes served_by_default;         ///< what serve takes without -tp, -pp and -dp
  std::vector<std::string> serve_flags;  ///< for a shell, without MODEL and layout
  const LayoutPlan& best() const { return layouts.front(); }
};

/// How to start a layout, one line each.
struct StartLines {
  std::string run, mpirun, srun;
};
StartLines start_lines(const PlanReport& report);

/// Of the best layout under the load; 0 without a price or when nothing fits.
double cost_per_million_tokens(const PlanReport& report);

std::string plan_text(const PlanReport& report);
std::string plan_json(const PlanReport& report);

}  // namespace echelon
