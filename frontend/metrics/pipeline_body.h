// What /debug/pipeline shows: the last micro-batches, and when each stage had them.
#pragma once

#include <boost/json/object.hpp>
#include <span>

#include "engine/engine_metrics.h"

namespace echelon {

/// {"micro_batches": [{"replica", "number", "rows", "stages": [[begin, end], ..]}, ..]}: stages in order, times in
/// seconds before now (begin is the larger), replicas one after the other, the oldest micro-batch of each first.
boost::json::object pipeline_body(std::span<const TracedMicroBatch> trace);

}  // namespace echelon
