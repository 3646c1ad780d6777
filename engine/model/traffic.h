// Bytes that one forward pass moves between the ranks of a stage and to the next one. StageModel exchanges by the same
// rules; the planner counts with them.
#pragma once

#include <cstdint>

#include "engine/model/model_spec.h"
#include "engine/model/shard.h"
#include "kernels/reduction_tree.h"

namespace echelon {

/// What one part receives, and how many exchanges follow one another.
struct Traffic {
  int64_t bytes = 0;
  int num_exchanges = 0;
};

/// Few rows: every part gets all slots of a sum. Many: part t adds rows [first_row(t), first_row(t + 1)), and the
/// slices are gathered.
bool sums_in_slices(int64_t rows, int64_t hidden, int tp);
inline int64_t first_row_of_slice(int64_t rows, int part, int tp) { return rows * part / tp; }
/// Rounds of an exchange in slices: slots of the part that has most.
int num_slice_rounds(const ReductionTree& tree);

/// One sum over the parts (attention output or MLP down) of `rows` rows, for part `part`.
Traffic sum_traffic(const ReductionTree& tree, int part, int64_t rows, int64_t hidden);
/// The logits of `rows` rows: part 0 gets the others' vocabulary rows, at most kLogitRows at a time.
Traffic logits_traffic(const ModelSpec& spec, const Shard& shard, int64_t rows);
/// The residual stream from the stage before.
Traffic border_traffic(const ModelSpec& spec, const Shard& shard, int64_t rows);

}  // namespace echelon
