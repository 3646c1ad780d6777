#include "engine/planner/capacity.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "parallel/communicator_memory.h"

namespace echelon {
namespace {

double gibibytes(uint64_t bytes) { return static_cast<double>(bytes) / (uint64_t{1} << 30); }

uint64_t communication_bytes(const Layout& layout, int rank, const std::vector<int>& host_of_rank) {
  const Place place = layout.place(rank);
  uint64_t total = 0;
  for (const std::vector<int>& members : {layout.tensor_group(place.dp, place.pp), layout.replica(place.dp)}) {
    const auto index = std::find(members.begin(), members.end(), rank) - members.begin();
    total += communicator_memory(members, static_cast<int>(index), host_of_rank).total();
  }
  return total;
}

/// Why these budgets do not do; empty: they do.
std::string refusal_of(const LayoutCapacity& layout, const EngineOptions& options, const ModelSpec& spec) {
  const int64_t length = max_sequence_tokens(options, spec), needed = blocks_of(length);
  for (const RankBudget& rank : layout.ranks) {
    if (rank.blocks_that_fit < needed) {
      return fmt::format(
          "rank {} has room for {} KV blocks ({} tokens) beside {:.2f} GiB of weights and {:.2f} GiB of activations, "
          "one "
          "sequence of --max-model-len {} needs {}",
          rank.rank, rank.blocks_that_fit, rank.blocks_that_fit * kBlockTokens, gibibytes(rank.memory.weights),
          gibibytes(rank.memory.activations), length, needed);
    }
  }
  for (const RankBudget& rank : layout.ranks) {
    if (rank.reserve() < 0) {
      return fmt::format("rank {} needs {:.2f} GiB and has {:.2f}", rank.rank, gibibytes(rank.needed()),
                         gibibytes(rank.rank_bytes));
    }
  }
  return "";
}

}  // namespace

LayoutCapacity layout_capacity(const ModelFiles& model, const EngineOptions& options, const Backend& backend,
                               const RankHosts& hosts, LayoutSizes sizes) {
  LayoutCapacity result{.sizes = sizes};
  const Layout layout(sizes, hosts.host_of_rank);
  std::vector<RankMemory> of_replica;  // all replicas are alike
  try {
    result.layers = layers_per_stage(options, model, sizes.pp);
    for (int pp = 0; pp < sizes.pp; ++pp) {
      for (int tp = 0; tp < sizes.tp; ++tp) {
        const Shard shard = make_shard(model.spec, sizes, {.dp = 0, .pp = pp, .tp = tp}, result.layers);
        check_shard(model, shard, backend);
        of_replica.push_back(rank_memory(model, shard, backend, options));
      }
    }
  } catch (const Error& error) {
    if (error.part() != Part::model) throw;
    result.refusal = error.what();
    return result;
  }
  for (int rank = 0; rank < layout.num_ranks(); ++rank) {
    const Place place = layout.place(rank);
    const RankMemory& memory = of_replica[static_cast<size_t>(place.pp * sizes.tp + place.tp)];
    const uint64_t rank_bytes = hosts.rank_bytes.at(static_cast<size_t>(rank));
    const int64_t blocks = kv_blocks_that_fit(memory, options, model.spec, rank_bytes, hosts.kv_share);
    result.num_blocks = rank == 0 ? blocks : std::min(result.num_blocks, blocks);
    result.ranks.push_back({.rank = rank,
                            .place = place,
                            .memory = memory,
                            .communication = communication_bytes(layout, rank, hosts.host_of_rank),
                            .blocks_that_fit = blocks,
                            .rank_bytes = rank_bytes});
  }
  for (RankBudget& rank : result.ranks) rank.kv_cache = static_cast<uint64_t>(result.num_blocks) * rank.memory.kv_block;
  result.refusal = refusal_of(result, options, model.spec);
  return result;
}

std::vector<LayoutSizes> possible_layouts(LayoutSizes wanted, int num_ranks) {
  std::vector<LayoutSizes> layouts;
  const auto keeps = [](int size, int wanted_size) { return wanted_size == 0 || size == wanted_size; };
  for (int tp = 1; tp <= std::min(num_ranks, kMaxTensorParallel); ++tp) {
    if (num_ranks % tp != 0 || !keeps(tp, wanted.tp)) continue;
    for (int pp = 1; pp <= num_ranks / tp; ++pp) {
      if (num_ranks / tp % pp != 0 || !keeps(pp, wanted.pp)) continue;
      const int dp = num_ranks / tp / pp;
      if (keeps(dp, wanted.dp)) layouts.push_back({.dp = dp, .tp = tp, .pp = pp});
    }
  }
  if (layouts.empty()) {  // choose_layout() says what is wrong
    choose_layout(wanted, std::vector<int>(static_cast<size_t>(num_ranks), 0));
    ECHELON_CHECK(false, "no layout of {} ranks", num_ranks);
  }
  return layouts;
}

ServedLayout layout_to_serve(const ModelFiles& model, const EngineOptions& options, const RankHosts& hosts) {
  const LayoutSizes nothing_wanted{.dp = 0, .tp = 0, .pp = 0};
  const LayoutSizes usual = choose_layout(nothing_wanted, hosts.host_of_rank);
  const auto backend = backend_for_sizes(options);
  const std::string refusal = layout_capacity(model, options, *backend, hosts, usual).refusal;
  ServedLayout best{.sizes = usual, .reason = ""};
  if (refusal.empty()) return best;
  int64_t most_blocks = 0;
  for (const LayoutSizes& sizes : possible_layouts(nothing_wanted, hosts.num_ranks())) {
    const LayoutCapacity capacity = layout_capacity(model, options, *backend, hosts, sizes);
    if (!capacity.fits() || capacity.num_blocks * sizes.dp <= most_blocks) continue;
    most_blocks = capacity.num_blocks * sizes.dp;
    best = {.sizes = sizes, .reason = fmt::format("tp {} x pp {} does not fit: {}", usual.tp, usual.pp, refusal)};
  }
  return best;
}

std::unique_ptr<Backend> backend_for_sizes(const EngineOptions& options) {
  return make_cpu_backend({.compute = options.compute, .num_threads = 1, .isa = options.isa});
}

}  // namespace echelon
