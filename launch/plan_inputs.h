// What `plan` and `simulate` compute from: the model's headers, the device, the hosts and the load of their options.
#pragma once

#include "engine/model/open_model.h"
#include "engine/planner/plan.h"
#include "launch/plan_options.h"

namespace echelon {

struct PlanInputs {
  EngineOptions settings;
  OpenModel model;
  Device device;
  RankHosts hosts;
  Load load;
  LayoutSizes wanted;  ///< 0: not given
};

/// Measures this host when it is the device. Throws Error for a model that cannot be read, a layout that cannot be, and
/// sequences that are too long.
PlanInputs plan_inputs(const PlanOptions& options);

}  // namespace echelon
