// What one rank remembers of the sequences that run: block tables, and on the last stage the state of sampling. Driven
// by plans alone; every number in a plan is checked here before anything is computed from it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sample/sampler.h"
#include "engine/schedule/micro_batch.h"
#include "kernels/backend.h"

namespace echelon {

struct SlotLimits {
  int num_slots = 0;
  int64_t num_blocks = 0;
  int64_t vocab = 0;
  int max_rows = 0;  ///< tokens of one micro-batch
  int64_t max_model_len = 0;
};

class SlotTable {
 public:
  explicit SlotTable(const SlotLimits& limits);

  /// Takes a plan's registrations and new blocks; returns its segments, whose block tables stay valid until the next
  /// apply(). Throws WireError naming what is wrong with the plan; the table is then not to be used any more.
  std::vector<Segment> apply(const MicroBatch& batch);

  SamplingState& sampling(int slot) { return slots_.at(slot).sampling; }
  /// What the slot sampled last, for kFedBackToken; known on the rank that samples.
  TokenId& sampled_token(int slot) { return slots_.at(slot).sampled_token; }

 private:
  struct Slot {
    bool registered = false;
    uint32_t generation = 0;
    int64_t next_position = -1;     ///< -1: not known before the first row
    int64_t sampled_position = -1;  ///< of the token that the last row that samples chooses
    TokenId sampled_token = 0;
    std::vector<int32_t> blocks;
    SamplingState sampling;
  };
  void register_slot(const SlotRegistration& registration);

  SlotLimits limits_;
  std::vector<Slot> slots_;
};

}  // namespace echelon
