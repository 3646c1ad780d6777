// Places for ranks: whole tensor-parallel groups on one host first, then groups from what the hosts have left. Pure
// functions; every rank computes the same table from the same host list.
#include "parallel/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

/// Ranks of each host, hosts in the order of their lowest rank, so that rank 0 is the first entry of the first host.
std::vector<std::vector<int>> ranks_by_host(const std::vector<int>& host_of_rank) {
  std::map<int, size_t> index_of_host;
  std::vector<std::vector<int>> hosts;
  for (size_t rank = 0; rank < host_of_rank.size(); ++rank) {
    const auto [entry, is_new] = index_of_host.try_emplace(host_of_rank[rank], hosts.size());
    if (is_new) hosts.emplace_back();
    hosts[entry->second].push_back(static_cast<int>(rank));
  }
  return hosts;
}

/// Groups of `tp` ranks: those that fit on one host, then those that cannot. Rank 0 leads the first.
std::vector<std::vector<int>> tensor_groups(const std::vector<int>& host_of_rank, int tp) {
  std::vector<std::vector<int>> groups;
  std::vector<int> left_over;
  for (const std::vector<int>& host : ranks_by_host(host_of_rank)) {
    const size_t num_whole = host.size() / tp;
    for (size_t i = 0; i < num_whole; ++i) groups.emplace_back(host.begin() + i * tp, host.begin() + (i + 1) * tp);
    left_over.insert(left_over.end(), host.begin() + num_whole * tp, host.end());
  }
  const size_t num_on_one_host = groups.size();
  for (size_t i = 0; i < left_over.size(); i += tp) {
    groups.emplace_back(left_over.begin() + i, left_over.begin() + std::min(i + tp, left_over.size()));
  }
  const bool rank_0_left_over = !left_over.empty() && left_over.front() == 0;
  if (rank_0_left_over)
    std::rotate(groups.begin(), groups.begin() + num_on_one_host, groups.begin() + num_on_one_host + 1);
  return groups;
}

void check_num_ranks(const std::vector<int>& host_of_rank) {
  if (host_of_rank.empty() || host_of_rank.size() > kMaxRanks) {
    throw Error(Part::parallel, fmt::format("{} ranks; 1 to {} are possible", host_of_rank.size(), kMaxRanks));
  }
}

void check_sizes(LayoutSizes sizes, int num_ranks) {
  for (const auto& [flag, size] : {std::pair{"-dp", sizes.dp}, {"-tp", sizes.tp}, {"-pp", sizes.pp}}) {
    if (size < 1 || size > kMaxRanks) {
      throw Error(Part::parallel, fmt::format("{} {}: must be 1 to {}", flag, size, kMaxRanks));
    }
  }
  if (sizes.tp > kMaxTensorParallel) {
    throw Error(Part::parallel,
                fmt::format("-tp {}: at most {}, because every sum has {} leaves and a rank needs one of them",
                            sizes.tp, kMaxTensorParallel, kMaxTensorParallel));
  }
  const int64_t needed = int64_t{sizes.dp} * sizes.tp * sizes.pp;
  if (needed != num_ranks) {
    throw Error(Part::parallel, fmt::format("-dp {} x -tp {} x -pp {} needs {} ranks, but {} were started", sizes.dp,
                                            sizes.tp, sizes.pp, needed, num_ranks));
  }
}

/// The largest tp that divides `rest` and the number of ranks of every host.
int tensor_parallel_that_fits(int rest, const std::vector<int>& host_of_rank) {
  int common = rest;
  for (const std::vector<int>& host : ranks_by_host(host_of_rank))
    common = std::gcd(common, static_cast<int>(host.size()));
  int tp = std::min(common, kMaxTensorParallel);
  while (common % tp != 0) --tp;
  return tp;
}

}  // namespace

Layout::Layout(LayoutSizes sizes, const std::vector<int>& host_of_rank) : sizes_(sizes) {
  check_num_ranks(host_of_rank);
  check_sizes(sizes, static_cast<int>(host_of_rank.size()));
  places_.resize(host_of_rank.size());
  const std::vector<std::vector<int>> groups = tensor_groups(host_of_rank, sizes.tp);
  ECHELON_CHECK(static_cast<int>(groups.size()) == sizes.dp * sizes.pp);
  for (int g = 0; g < static_cast<int>(groups.size()); ++g) {
    for (int t = 0; t < sizes.tp; ++t) places_[groups[g][t]] = Place{.dp = g / sizes.pp, .pp = g % sizes.pp, .tp = t};
  }
  ECHELON_CHECK((places_[0] == Place{}));
}

int Layout::rank_at(Place place) const {
  const auto found = std::find(places_.begin(), places_.end(), place);
  ECHELON_CHECK(found != places_.end(), "no rank at dp {} pp {} tp {} of {}", place.dp, place.pp, place.tp, describe());
  return static_cast<int>(found - places_.begin());
}

std::vector<int> Layout::tensor_group(int dp, int pp) const {
  std::vector<int> ranks;
  for (int t = 0; t < sizes_.tp; ++t) ranks.push_back(rank_at({.dp = dp, .pp = pp, .tp = t}));
  return ranks;
}

std::vector<int> Layout::replica(int dp) const {
  std::vector<int> ranks;
  for (int p = 0; p < sizes_.pp; ++p) {
    const std::vector<int> stage = tensor_group(dp, p);
    ranks.insert(ranks.end(), stage.begin(), stage.end());
  }
  return ranks;
}

std::string Layout::describe() const { return fmt::format("dp {} x pp {} x tp {}", sizes_.dp, sizes_.pp, sizes_.tp); }

LayoutSizes choose_layout(LayoutSizes wanted, const std::vector<int>& host_of_rank) {
  check_num_ranks(host_of_rank);
  const int num_ranks = static_cast<int>(host_of_rank.size());
  int64_t given = 1;
  for (const auto& [flag, size] : {std::pair{"-dp", wanted.dp}, {"-tp", wanted.tp}, {"-pp", wanted.pp}}) {
    if (size < 0 || size > kMaxRanks) {
      throw Error(Part::parallel,
                  fmt::format("{} {}: must be 1 to {} (0: chosen from the ranks)", flag, size, kMaxRanks));
    }
    if (size > 0) given *= size;
  }
  if (num_ranks % given != 0) {
    throw Error(Part::parallel,
                fmt::format("-dp {} -tp {} -pp {} (0: not given) cannot be met with {} ranks: {} does not divide {}",
                            wanted.dp, wanted.tp, wanted.pp, num_ranks, given, num_ranks));
  }
  LayoutSizes sizes = wanted;
  if (sizes.dp == 0) sizes.dp = (wanted.tp > 0 && wanted.pp > 0) ? static_cast<int>(num_ranks / given) : 1;
  const int rest = num_ranks / sizes.dp;
  if (sizes.tp == 0) sizes.tp = sizes.pp > 0 ? rest / sizes.pp : tensor_parallel_that_fits(rest, host_of_rank);
  if (sizes.pp == 0) sizes.pp = rest / sizes.tp;
  check_sizes(sizes, num_ranks);
  return sizes;
}

}  // namespace echelon
