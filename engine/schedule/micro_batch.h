// One step of one replica as plain data: which tokens of which sequences run, in which blocks. Rank 0 sends the same
// bytes to every rank of the replica; every rank runs them in the order of their numbers. And the answer of the last
// stage.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"
#include "engine/sampling_params.h"
#include "kernels/base/token.h"

namespace echelon {

/// Stands in a plan for the token that the row's slot samples in the micro-batch before: the ranks know it first.
inline constexpr TokenId kFedBackToken = -2;

/// Registers a sequence in a slot: its block table starts empty, its sampling state from the tokens given.
struct SlotRegistration {
  int32_t slot = 0;
  uint32_t generation = 0;
  int32_t choice = 0;      ///< part of the random counter
  int32_t num_prompt = 0;  ///< prompt tokens (what follows is output)
  SamplingParams sampling;
  std::vector<TokenId> tokens;  ///< all tokens so far, only when sampling needs them
};

/// Consecutive tokens of one sequence.
struct PlanRow {
  int32_t slot = 0;
  uint32_t generation = 0;
  int32_t first_position = 0;
  int32_t num_tokens = 0;      ///< these of MicroBatch::tokens, in the order of the rows
  int32_t num_new_blocks = 0;  ///< these of MicroBatch::new_blocks, appended to the slot's table
  int32_t targets_from = 0;    ///< tokens [targets_from, targets_from + num_targets) want the log-probability
  int32_t num_targets = 0;     ///< of the prompt token that follows them
  bool sample = false;         ///< the last token's logits choose the next token
  bool masked = false;         ///< of those that a mask allows, which follows the plan (step_masks.h)
  bool sum = false;            ///< the final hidden states of its tokens are added up in the slot, from position 0 on
  bool pool = false;  ///< it is answered with a vector: the mean of those, or without `sum` its last token's own
};

struct MicroBatch {
  uint32_t epoch = 0;
  uint64_t number = 0;
  std::vector<SlotRegistration> registrations;
  std::vector<PlanRow> rows;
  std::vector<TokenId> tokens;  ///< kFedBackToken in rows of one token only
  std::vector<int32_t> new_blocks;
  /// In the order of the rows: the prompt token that follows each token with a target.
  std::vector<TokenId> targets;
};

/// A row that decodes one token takes 7 to 12 bytes, its token among them.
std::vector<std::byte> encode(const MicroBatch& batch);
/// Throws WireError for bytes that no encode() made: sizes are checked before they are used, counts must agree with
/// each other. Ranges that depend on the model (token ids, blocks, slots) are checked by SlotTable and Stage.
MicroBatch decode_micro_batch(std::span<const std::byte> bytes);

/// What the last stage found for one row of the plan.
struct RowResult {
  int32_t slot = 0;
  uint32_t generation = 0;
  bool sampled = false;
  OutputToken token;                          ///< when sampled
  std::vector<TokenLogprob> prompt_logprobs;  ///< one a target
  std::vector<float> pooled;                  ///< when the row pools
};

struct StepResult {
  uint32_t epoch = 0;
  uint64_t number = 0;
  uint32_t stage_us = 0;        ///< what the last stage took for it but for waiting; 0: not known
  std::vector<RowResult> rows;  ///< only rows that sampled, pooled or have prompt log-probabilities
};

/// Vectors of one result take at most so many bytes, unless there is only one: it has to fit into one frame.
inline constexpr size_t kMaxPooledBytes = size_t{8} << 20;

std::vector<std::byte> encode(const StepResult& result);
StepResult decode_step_result(std::span<const std::byte> bytes);

}  // namespace echelon
