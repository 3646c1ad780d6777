// What a server says of itself at one moment: its /metrics and its /debug/pipeline as plain data. Everything is
// checked: the server may be another one, or none of ours.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine_metrics.h"

namespace echelon {

struct Snapshot {
  std::string model;  ///< printable ASCII; '?' for everything else
  int num_dp = 0, num_pp = 0, num_tp = 0;
  EngineMetrics engine;                 ///< its ranks in order, printable hosts; no histograms
  std::vector<TracedMicroBatch> trace;  ///< by replica and number; begin >= end, num_pp stages each
};

/// Throws Error(Part::launch): not metrics, none of a rank of Echelon, or ranks that cannot be (a place twice, beyond
/// kMaxRanks, a layout with holes).
Snapshot parse_snapshot(std::string_view metrics);

/// /debug/pipeline, for snapshot.trace. Throws Error(Part::launch) for anything but what a server of that layout says.
std::vector<TracedMicroBatch> parse_trace(std::string_view json, const Snapshot& snapshot);

}  // namespace echelon
