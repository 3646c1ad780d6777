// Layouts compared: what fits, what it holds, and how fast it is by the cost model. Pure functions; plain data.
#pragma once

#include <vector>

#include "engine/planner/capacity.h"
#include "engine/planner/cost_model.h"

namespace echelon {

/// What clients ask for: `concurrency` sequences at a time, over all replicas.
struct Load {
  int64_t prompt_tokens = 512, output_tokens = 128;
  int concurrency = 0;  ///< 0: EngineOptions::max_num_seqs
  int64_t sequence_tokens() const { return prompt_tokens + output_tokens; }
};

/// Times in seconds.
struct Forecast {
  int concurrency = 0;  ///< at most what the KV caches hold and --max-num-seqs allows
  double ttft = 0;      ///< of a prompt that comes while the others decode
  double tpot = 0;      ///< between two tokens of a sequence, others' prompts included
  double output_tokens_per_s = 0;
  StageCost slowest_stage;  ///< of a decode
};

struct LayoutPlan {
  LayoutCapacity capacity;
  int64_t max_batch = 0;  ///< sequences of the load that the KV caches hold
  /// Of a decoded token: bytes that all ranks of a replica receive from parts of their stage, and from the stage
  /// before; exchanges that follow one another.
  Traffic parts_per_token, border_per_token;
  Forecast one_stream, full_load;  ///< of layouts that fit
};

/// Memory and times of one layout. Throws as layout_capacity() does.
LayoutPlan plan_layout(const ModelFiles& model, const EngineOptions& options, const Device& device,
                       const RankHosts& hosts, const Load& load, LayoutSizes sizes);

/// All layouts that keep what is wanted (0: not given), best first: those that fit, by tokens per second of the load;
/// of those within 2 % of each other, the one with the shorter time between tokens of a lone stream.
std::vector<LayoutPlan> plan_layouts(const ModelFiles& model, const EngineOptions& options, const Device& device,
                                     const RankHosts& hosts, const Load& load, LayoutSizes wanted);

}  // namespace echelon
