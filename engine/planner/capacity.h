// What a layout needs on every rank, and whether it fits: from the headers of a model and the sizes that the ranks
// themselves compute (engine/model/rank_memory.h, parallel/communicator_memory.h). Pure; plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine_options.h"
#include "engine/model/rank_memory.h"
#include "parallel/layout.h"

namespace echelon {

/// The ranks of a job: where they lie and what memory each may use, in bytes, before it loads anything.
struct RankHosts {
  std::vector<int> host_of_rank;  ///< as in Layout
  std::vector<uint64_t> rank_bytes;
  double kv_share = kHostKvShare;
  int num_ranks() const { return static_cast<int>(host_of_rank.size()); }
};

/// One rank's memory, in bytes.
struct RankBudget {
  int rank = 0;
  Place place;
  RankMemory memory;
  uint64_t kv_cache = 0;       ///< num_blocks blocks
  uint64_t communication = 0;  ///< its groups' windows and links
  int64_t blocks_that_fit = 0;
  uint64_t rank_bytes = 0;  ///< what it may use
  uint64_t needed() const { return memory.weights + memory.activations + kv_cache + communication; }
  /// What is left: tables, the process itself, other users of the host.
  int64_t reserve() const { return static_cast<int64_t>(rank_bytes) - static_cast<int64_t>(needed()); }
};

struct LayoutCapacity {
  LayoutSizes sizes;
  std::vector<int> layers;  ///< of each stage
  std::vector<RankBudget> ranks;
  int64_t num_blocks = 0;  ///< KV blocks of a replica: the fewest that any rank has room for
  std::string refusal;     ///< why it does not fit; empty: it does
  bool fits() const { return refusal.empty(); }
  /// Sequences of so many tokens that the KV caches of all replicas hold.
  int64_t max_sequences(int64_t tokens) const { return num_blocks / blocks_of(tokens) * sizes.dp; }
};

/// Memory and blocks of every rank. A layout that cannot be has a refusal and no ranks. Throws Error for a model with
/// missing or misshaped tensors.
LayoutCapacity layout_capacity(const ModelFiles& model, const EngineOptions& options, const Backend& backend,
                               const RankHosts& hosts, LayoutSizes sizes);

/// All ways to divide the ranks that keep what is wanted (0: not given). Throws Error(Part::parallel) as
/// choose_layout() does when there is none.
std::vector<LayoutSizes> possible_layouts(LayoutSizes wanted, int num_ranks);

struct ServedLayout {
  LayoutSizes sizes;
  std::string reason;  ///< why it is not choose_layout()'s; empty: it is
};

/// What `serve` takes when it is given no layout: choose_layout()'s if it fits, else the one that fits with room for
/// most tokens; choose_layout()'s when none fits, so that the start says what is wrong.
ServedLayout layout_to_serve(const ModelFiles& model, const EngineOptions& options, const RankHosts& hosts);

/// Arithmetic and layout of packed weights, without threads: to ask for sizes.
std::unique_ptr<Backend> backend_for_sizes(const EngineOptions& options);

}  // namespace echelon
