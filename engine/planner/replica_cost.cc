#include "engine/planner/replica_cost.h"

#include <algorithm>

namespace echelon {

ReplicaCost::ReplicaCost(const ModelFiles& model, const EngineOptions& options, const Device& device,
                         const RankHosts& hosts, const LayoutCapacity& capacity)
    : device_(device), hosts_(hosts), layout_(capacity.sizes, hosts.host_of_rank) {
  const auto backend = backend_for_sizes(options);
  for (int pp = 0; pp < capacity.sizes.pp; ++pp) {
    for (int tp = 0; tp < capacity.sizes.tp; ++tp) {
      const Shard shard = make_shard(model.spec, capacity.sizes, {.dp = 0, .pp = pp, .tp = tp}, capacity.layers);
      profiles_.push_back(stage_profile(model, shard, *backend, options));
    }
  }
}

std::vector<StageCost> ReplicaCost::cost(std::span<const RowGroup> rows, int in_flight, int replicas) const {
  std::vector<StageCost> stages;
  for (int pp = 0; pp < num_stages(); ++pp) {
    StageCost slowest;
    for (int tp = 0; tp < layout_.sizes().tp; ++tp) {
      const Surroundings around = surroundings({.dp = 0, .pp = pp, .tp = tp}, in_flight, replicas);
      const StageCost each = stage_cost(profile(pp, tp), rows, device_, around);
      if (each.total() > slowest.total()) slowest = each;
    }
    stages.push_back(slowest);
  }
  return stages;
}

Surroundings ReplicaCost::surroundings(Place place, int in_flight, int replicas) const {
  const int me = layout_.rank_at(place);
  const double of_other_stage = num_stages() > 1 ? std::min((in_flight - 1.0) / (num_stages() - 1.0), 1.0) : 0;
  const double of_other_replica = std::min(static_cast<double>(in_flight) / num_stages(), 1.0);
  Surroundings around{.parts_on_one_host = true, .previous_on_host = true, .busy_on_host = 0};
  for (int rank = 0; rank < layout_.num_ranks(); ++rank) {
    const Place other = layout_.place(rank);
    const bool my_replica = other.dp == place.dp, my_stage = my_replica && other.pp == place.pp;
    if (host(rank) != host(me)) {
      if (my_stage) around.parts_on_one_host = false;
      continue;
    }
    if (other.dp < replicas) around.busy_on_host += my_stage ? 1 : my_replica ? of_other_stage : of_other_replica;
  }
  if (place.pp > 0) {
    const int previous = layout_.rank_at({.dp = place.dp, .pp = place.pp - 1, .tp = place.tp});
    around.previous_on_host = host(previous) == host(me);
  }
  return around;
}

}  // namespace echelon
