// What a micro-batch costs on each stage of a replica. Borrows options, device and hosts; immutable, any thread.
#pragma once

#include <span>
#include <vector>

#include "engine/planner/capacity.h"
#include "engine/planner/cost_model.h"

namespace echelon {

/// The stages of the first replica, each with its parts.
class ReplicaCost {
 public:
  /// A layout that fits.
  ReplicaCost(const ModelFiles& model, const EngineOptions& options, const Device& device, const RankHosts& hosts,
              const LayoutCapacity& capacity);

  int num_stages() const { return layout_.sizes().pp; }
  std::span<const StageProfile> profiles() const { return profiles_; }

  /// Each stage's slowest part. in_flight: micro-batches; replicas: that have work.
  std::vector<StageCost> cost(std::span<const RowGroup> rows, int in_flight, int replicas) const;

 private:
  const StageProfile& profile(int pp, int tp) const {
    return profiles_[static_cast<size_t>(pp * layout_.sizes().tp + tp)];
  }
  int host(int rank) const { return hosts_.host_of_rank[static_cast<size_t>(rank)]; }
  Surroundings surroundings(Place place, int in_flight, int replicas) const;

  const Device& device_;
  const RankHosts& hosts_;
  const Layout layout_;
  std::vector<StageProfile> profiles_;
};

}  // namespace echelon
