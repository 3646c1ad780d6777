// A job that does not exist, on a virtual clock: the scheduler that serves, over ranks whose times come from the cost
// model. Deterministic; one thread; reads headers alone.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/planner/plan.h"

namespace echelon {

struct Arrivals {
  int num_requests = 256;
  double per_second =
      0;  ///< at random (Poisson); 0: each of Load::concurrency clients sends one when its last has ended
  uint64_t seed = 0;
};

/// Seconds; rates are over the time from the first arrival to the last token.
struct Simulated {
  double seconds = 0;
  double output_tokens_per_s = 0, prompt_tokens_per_s = 0;
  double ttft_p50 = 0, ttft_p99 = 0;
  double itl_p50 = 0, itl_p99 = 0;
  double tpot_p50 = 0;      ///< of a request: from its first token to its last, by the tokens after the first
  double bubble_share = 0;  ///< stage time without work, of replicas that have some
  uint64_t num_micro_batches = 0, num_preemptions = 0;
};

/// Prompts share no beginning. The layout fits (checked: throws Error(Part::engine) with its refusal).
Simulated simulate_job(const ModelFiles& model, const EngineOptions& options, const Device& device,
                       const RankHosts& hosts, const Load& load, const Arrivals& arrivals, LayoutSizes sizes);

}  // namespace echelon
