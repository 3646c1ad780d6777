// How much memory one rank takes, and how many KV blocks fit beside: from the headers of a model alone. A rank that
// loads (engine/rank_runner.cc) and the planner (engine/planner) ask the same functions, so they cannot differ.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine_options.h"
#include "engine/model/stage_weights.h"

namespace echelon {

/// Of a rank's share of the host's free memory, less its weights and activations, what its KV cache may take by
/// default.
inline constexpr double kHostKvShare = 0.4;

/// Bytes.
struct RankMemory {
  uint64_t weights = 0;      ///< packed matrices
  uint64_t activations = 0;  ///< for EngineOptions::max_batch_tokens rows
  uint64_t kv_block = 0;     ///< one KV block; 0 on a rank without heads
};

/// Throws Error naming tensor and file for anything missing or of a wrong shape.
RankMemory rank_memory(const ModelFiles& model, const Shard& shard, const Backend& backend,
                       const EngineOptions& options);

/// Tokens of one sequence at most: the model's own, or fewer where the user says so.
int64_t max_sequence_tokens(const EngineOptions& options, const ModelSpec& spec);
int64_t blocks_of(int64_t num_tokens);

/// The user's cut, or the one by cost. Throws Error(Part::model) when it does not fit the model and pp.
std::vector<int> layers_per_stage(const EngineOptions& options, const ModelFiles& model, int pp);

/// KV blocks a rank has room for: what the user says, else as many as `kv_share` of the rest of `rank_bytes` holds, but
/// no more than --max-num-seqs sequences of full length need. rank_bytes: the rank's share of what is free before it
/// loads.
int64_t kv_blocks_that_fit(const RankMemory& memory, const EngineOptions& options, const ModelSpec& spec,
                           uint64_t rank_bytes, double kv_share = kHostKvShare);

}  // namespace echelon
