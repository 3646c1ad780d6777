// The pipeline as it ran: a row for each stage of a replica, time from left to right, in every column the micro-batch
// that the stage had.
#pragma once

#include <vector>

#include "launch/top/line.h"
#include "launch/top/snapshot.h"

namespace echelon {

/// Adds a heading and a line for each stage; nothing when no micro-batch is known. The last micro-batches are shown, as
/// many as have room; a pause longer than what follows it ends them.
void add_strip(std::vector<Line>& lines, const Snapshot& snapshot, int replica, int width);

}  // namespace echelon
