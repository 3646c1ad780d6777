// Rank 0's real scheduler, cache and journal, and the real stages of its ranks, on a virtual clock. The seed chooses
// sizes, requests, their arrival and cancellation, how long everything takes, and, for some, one fault on the way of a
// message. The same seed gives the same run, event for event.
#pragma once

#include <cstdint>
#include <string>

namespace echelon::simulation {

/// Of one message on one link; or ranks are lost, and others go on.
enum class Fault { none, corrupted, repeated, lost, swapped, rank_lost };

struct Outcome {
  std::string failure;          ///< what did not hold; empty: all did
  bool fault_happened = false;  ///< the message it was meant for was sent
  std::string fault_noticed;    ///< the error that ended the job
  uint64_t num_tokens = 0, num_vectors = 0, num_preemptions = 0, num_cached = 0, num_cancelled = 0, num_plans = 0;
  uint64_t num_losses = 0, num_late = 0;  ///< of ranks; answers of epochs that were over
};

/// Checked after every event: the scheduler's own integrity, bounds of plans, order of admission. At the end: every
/// request that was not cancelled has exactly the tokens, or the pooled vector, it would get alone, each once and in
/// order, and nothing is held. A fault must be noticed by rank or engine, or change nothing; a message that is lost,
/// late or never whole may also leave all waiting. When ranks are lost, all of the above holds as if none were.
Outcome simulate(uint64_t seed, Fault fault);

}  // namespace echelon::simulation
