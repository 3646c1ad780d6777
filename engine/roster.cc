#include "engine/roster.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace echelon {

Roster::Roster(const Layout& layout, std::vector<int> host_of_rank, ChooseSizes choose)
    : full_{.dp = 1, .tp = layout.sizes().tp, .pp = layout.sizes().pp},
      teams_(static_cast<size_t>(layout.sizes().dp)),
      choose_(std::move(choose)) {
  ECHELON_CHECK(static_cast<int>(host_of_rank.size()) >= layout.num_ranks());
  for (const int host : host_of_rank) members_.push_back({.host = host});
  for (int replica = 0; replica < num_replicas(); ++replica) begin(replica, full_, layout.replica(replica));
}

bool Roster::any_serves() const {
  return std::any_of(teams_.begin(), teams_.end(), [](const Team& team) { return team.serves(); });
}

std::optional<int> Roster::replica_of(int rank) const {
  const int replica = members_.at(static_cast<size_t>(rank)).replica;
  return replica < 0 ? std::nullopt : std::optional(replica);
}

std::vector<int> Roster::idle() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < num_ranks(); ++rank) {
    if (!is_lost(rank) && !replica_of(rank)) ranks.push_back(rank);
  }
  return ranks;
}

std::vector<int> Roster::lost() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < num_ranks(); ++rank) {
    if (is_lost(rank)) ranks.push_back(rank);
  }
  return ranks;
}

int Roster::num_at_work_beside(int rank) const {
  const int host = members_.at(static_cast<size_t>(rank)).host;
  return static_cast<int>(std::count_if(members_.begin(), members_.end(),
                                        [&](const Member& m) { return m.host == host && m.replica >= 0; }));
}

std::optional<int> Roster::live_rank_beside(int rank) const {
  const int host = members_.at(static_cast<size_t>(rank)).host;
  const auto found = std::find_if(members_.begin(), members_.end(),
                                  [&](const Member& member) { return member.host == host && !member.lost; });
  return found == members_.end() ? std::nullopt : std::optional(static_cast<int>(found - members_.begin()));
}

void Roster::break_up(int replica) {
  Team& team = teams_.at(static_cast<size_t>(replica));
  team.epoch = 0;
  for (const int rank : team.ranks) members_[static_cast<size_t>(rank)].replica = -1;
}

void Roster::lose(int rank) {
  Member& member = members_.at(static_cast<size_t>(rank));
  ECHELON_CHECK(member.replica < 0, "rank {} is lost, its team is not broken up", rank);
  member.lost = true;
}

void Roster::begin(int replica, LayoutSizes sizes, std::vector<int> ranks) {
  for (const int rank : ranks) members_[static_cast<size_t>(rank)].replica = replica;
  teams_[static_cast<size_t>(replica)] = {.epoch = ++last_epoch_, .sizes = sizes, .ranks = std::move(ranks)};
}

/// A whole team of idle ranks, as many as can be where they were; empty: too few are idle.
std::vector<int> Roster::pick(const Team& before) const {
  std::vector<int> free = idle();
  const auto num_needed = static_cast<size_t>(full_.num_ranks());
  if (free.size() < num_needed) return {};
  std::vector<int> ranks(num_needed, -1);
  if (before.ranks.size() == num_needed) {
    for (size_t i = 0; i < num_needed; ++i) {
      if (std::erase(free, before.ranks[i]) > 0) ranks[i] = before.ranks[i];
    }
  }
  const auto host_of = [&](int rank) { return members_[static_cast<size_t>(rank)].host; };
  for (size_t i = 0; i < num_needed; ++i) {
    if (ranks[i] >= 0) continue;
    const auto beside = std::find_if(free.begin(), free.end(), [&](int rank) {
      return i < before.ranks.size() && host_of(rank) == host_of(before.ranks[i]);
    });
    const auto chosen = beside == free.end() ? free.begin() : beside;
    ranks[i] = *chosen;
    free.erase(chosen);
  }
  return ranks;
}

std::vector<int> Roster::fill() {
  std::vector<int> filled;
  for (int replica = 0; replica < num_replicas(); ++replica) {
    if (team(replica).serves()) continue;
    std::vector<int> ranks = pick(team(replica));
    if (ranks.empty()) continue;
    begin(replica, full_, std::move(ranks));
    filled.push_back(replica);
  }
  if (any_serves()) return filled;
  for (std::vector<int> ranks = idle(); !ranks.empty(); ranks.pop_back()) {
    const std::optional<LayoutSizes> sizes = choose_(ranks);
    if (!sizes) continue;
    ECHELON_CHECK(sizes->dp == 1 && sizes->num_ranks() == static_cast<int>(ranks.size()));
    begin(0, *sizes, std::move(ranks));
    filled.push_back(0);
    break;
  }
  return filled;
}

}  // namespace echelon
