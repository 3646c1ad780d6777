// Who serves: which rank has which place of which replica, and in which epoch. Rank 0's book of it. A lost rank's
// replica gets a new team from the ranks that are left: those of its team keep their places, so that their weights
// stay, and spares take the others; where too few are left, a replica is given up, and the last one is laid out anew on
// fewer ranks. Pure; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "parallel/layout.h"

namespace echelon {

class Roster {
 public:
  struct Team {
    uint32_t epoch = 0;      ///< of no other team of the job; 0: nobody serves the replica
    LayoutSizes sizes;       ///< dp is 1
    std::vector<int> ranks;  ///< stage after stage, in each the parts in order

    bool serves() const { return epoch != 0; }
    int num_ranks() const { return static_cast<int>(ranks.size()); }
    Place place(int index) const { return {.dp = 0, .pp = index / sizes.tp, .tp = index % sizes.tp}; }
    std::vector<int> stage(int pp) const {
      return {ranks.begin() + ptrdiff_t{pp} * sizes.tp, ranks.begin() + (ptrdiff_t{pp} + 1) * sizes.tp};
    }
    int sampler() const { return ranks[static_cast<size_t>(sizes.pp - 1) * static_cast<size_t>(sizes.tp)]; }
  };
  /// How these ranks, all of them, could hold the model together (dp is 1); nothing: they cannot.
  using ChooseSizes = std::function<std::optional<LayoutSizes>(const std::vector<int>& ranks)>;

  /// The replicas of `layout`, each with its epoch; ranks beyond the layout's are spares. host_of_rank as in Layout, of
  /// all ranks.
  Roster(const Layout& layout, std::vector<int> host_of_rank, ChooseSizes choose);

  int num_replicas() const { return static_cast<int>(teams_.size()); }
  int num_ranks() const { return static_cast<int>(members_.size()); }
  const Team& team(int replica) const { return teams_.at(static_cast<size_t>(replica)); }
  bool any_serves() const;
  bool is_lost(int rank) const { return members_.at(static_cast<size_t>(rank)).lost; }
  /// Of the team that a rank is in; nothing: it is idle, or lost.
  std::optional<int> replica_of(int rank) const;
  std::vector<int> idle() const;
  std::vector<int> lost() const;
  /// Ranks of teams on a rank's host.
  int num_at_work_beside(int rank) const;
  /// One that is not lost; nothing: there is none on the host.
  std::optional<int> live_rank_beside(int rank) const;

  /// The team's epoch is over; its ranks are idle.
  void break_up(int replica);
  /// A rank is gone for good. Its team, if it had one, has been broken up before.
  void lose(int rank);
  /// Makes teams of idle ranks, as many as can be. Returns their replicas.
  std::vector<int> fill();

 private:
  struct Member {
    int host = 0;
    int replica = -1;
    bool lost = false;
  };
  std::vector<int> pick(const Team& before) const;
  void begin(int replica, LayoutSizes sizes, std::vector<int> ranks);

  const LayoutSizes full_;  ///< of a replica
  std::vector<Member> members_;
  std::vector<Team> teams_;
  ChooseSizes choose_;
  uint32_t last_epoch_ = 0;
};

}  // namespace echelon
