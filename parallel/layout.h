// Which rank does what: data, tensor and pipeline parallel sizes, and the table that gives every rank its place. The
// place of a rank is looked up, never computed from the MPI rank, so that a spare can take a dead rank's place later.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// Coordinates of one rank. Replica d, stage p, tensor-parallel part t.
struct Place {
  int dp = 0, pp = 0, tp = 0;
  bool operator==(const Place&) const = default;
};

struct LayoutSizes {
  int dp = 1, tp = 1, pp = 1;
  int num_ranks() const { return dp * tp * pp; }
};

class Layout {
 public:
  /// host_of_rank[r] is any number that is equal for ranks of one host. Ranks of one tensor-parallel group are put on
  /// one host where possible; rank 0 always gets {0, 0, 0}. Throws Error(Part::parallel) when the sizes do not multiply
  /// to the number of ranks.
  Layout(LayoutSizes sizes, const std::vector<int>& host_of_rank);

  const LayoutSizes& sizes() const { return sizes_; }
  int num_ranks() const { return static_cast<int>(places_.size()); }
  const Place& place(int rank) const { return places_.at(rank); }
  int rank_at(Place place) const;
  /// Ranks of one tensor-parallel group, in the order of tp.
  std::vector<int> tensor_group(int dp, int pp) const;
  /// Ranks of one replica, stage after stage.
  std::vector<int> replica(int dp) const;
  std::string describe() const;  ///< "dp 1 x pp 2 x tp 2"

 private:
  LayoutSizes sizes_;
  std::vector<Place> places_;
};

/// Sizes for the ranks at hand when the user gave none (0 = not given): ranks of a host become tp, hosts become pp.
/// Throws Error(Part::parallel) that names the flags and the number of ranks when they cannot be met.
LayoutSizes choose_layout(LayoutSizes wanted, const std::vector<int>& host_of_rank);

}  // namespace echelon
