// One choice of one request, as the scheduler sees it.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "engine/cache/block_pool.h"
#include "engine/request.h"

namespace echelon {

using SequenceId = uint64_t;  ///< never reused in a process
using TenantId = uint64_t;    ///< of whoever a request counts for

struct Sequence {
  SequenceId id = 0;
  SequenceId first_choice = 0;  ///< the sequence of choice 0 of the same request (itself for the first)
  int choice = 0;
  bool is_first() const { return first_choice == id; }
  int priority = 0;
  bool is_background() const { return priority == kBackgroundPriority; }
  TenantId tenant = 0;
  int weight = 1;           ///< of the tenant: its share against others
  uint64_t cache_salt = 0;  ///< prefixes are shared among equal ones only
  uint64_t order = 0;       ///< arrival; smaller is older
  double added_s = 0;       ///< to the scheduler
  SamplingParams sampling;
  Pooling pooling = Pooling::none;  ///< a vector of the prompt is wanted, and no tokens
  bool masked = false;              ///< a grammar says which tokens may come; an end token always ends it

  std::vector<TokenId> tokens;  ///< prompt, then output: this is the journal of the sequence
  int num_prompt = 0;
  int num_scheduled = 0;        ///< tokens computed or in flight
  int num_fed_back = 0;         ///< tokens after the last of `tokens` that are being sampled and may be run already
  int num_cached = 0;           ///< prompt tokens found in the prefix cache when it was first admitted
  int num_prompt_logprobs = 0;  ///< of those asked for, already delivered
  bool running = false;         ///< has a slot and blocks; else it waits
  bool admitted_before = false;
  int slot = -1;
  uint32_t generation = 0;       ///< of the slot
  int num_in_flight = 0;         ///< micro-batches with a row of it that are not committed
  bool was_interrupted = false;  ///< taken out of another scheduler with some of them
  uint64_t last_plan = 0;
  std::vector<int> blocks;
  std::vector<PrefixKey> keys;  ///< of the full blocks published or found so far

  /// Tokens to be run.
  int num_pending() const { return static_cast<int>(tokens.size()) + num_fed_back - num_scheduled; }
  int num_output() const { return static_cast<int>(tokens.size()) - num_prompt; }
  /// Another token is wanted whatever those being sampled are, unless one of them ends the sequence.
  bool goes_on() const { return num_output() + num_fed_back < max_output(); }
  int max_output() const { return pooling == Pooling::none ? sampling.max_tokens : 0; }
  /// All but the newest token has been run or is in flight (after a preemption, outputs are prefilled again like a
  /// prompt).
  bool in_decode() const { return num_scheduled >= num_prompt && num_pending() <= 1 && pooling == Pooling::none; }
};

}  // namespace echelon
