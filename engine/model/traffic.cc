#include "engine/model/traffic.h"

#include <algorithm>

#include "engine/model/layer_runner.h"

namespace echelon {
namespace {

/// Above this many bytes of one sum every tensor-parallel rank adds a slice of the rows instead of all of them.
constexpr int64_t kSliceBytes = 256 * 1024;
constexpr int64_t kFloatBytes = sizeof(float);

}  // namespace

bool sums_in_slices(int64_t rows, int64_t hidden, int tp) {
  return tp > 1 && rows * hidden * kFloatBytes > kSliceBytes && rows >= tp;
}

int num_slice_rounds(const ReductionTree& tree) {
  int most = 0;
  for (int part = 0; part < tree.num_parts(); ++part) most = std::max(most, tree.num_slots(part));
  return most;
}

Traffic sum_traffic(const ReductionTree& tree, int part, int64_t rows, int64_t hidden) {
  const int tp = tree.num_parts();
  if (tp == 1) return {};
  const int64_t others_slots = tree.total_slots() - tree.num_slots(part), row_bytes = hidden * kFloatBytes;
  if (!sums_in_slices(rows, hidden, tp)) return {.bytes = others_slots * rows * row_bytes, .num_exchanges = 1};
  const int64_t mine = first_row_of_slice(rows, part + 1, tp) - first_row_of_slice(rows, part, tp);
  return {.bytes = (others_slots * mine + rows - mine) * row_bytes, .num_exchanges = num_slice_rounds(tree) + 1};
}

Traffic logits_traffic(const ModelSpec& spec, const Shard& shard, int64_t rows) {
  if (shard.place.tp != 0 || !shard.is_last_stage()) return {};
  Traffic traffic{.bytes = rows * (spec.vocab - shard.vocab.count) * kFloatBytes, .num_exchanges = 0};
  const auto rounds = static_cast<int>((rows + kLogitRows - 1) / kLogitRows);
  for (int part = 1; part < shard.tp; ++part)
    traffic.num_exchanges += vocab_range(spec.vocab, shard.tp, part).count > 0 ? rounds : 0;
  return traffic;
}

Traffic border_traffic(const ModelSpec& spec, const Shard& shard, int64_t rows) {
  if (shard.is_first_stage()) return {};
  return {.bytes = rows * spec.hidden * kFloatBytes, .num_exchanges = 1};
}

}  // namespace echelon
