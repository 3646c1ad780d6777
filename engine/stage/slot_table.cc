#include "engine/stage/slot_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/schedule/wire.h"
#include "kernels/base/limits.h"

namespace echelon {

SlotTable::SlotTable(const SlotLimits& limits) : limits_(limits), slots_(limits.num_slots) {}

void SlotTable::register_slot(const SlotRegistration& registration) {
  if (registration.slot < 0 || registration.slot >= limits_.num_slots) {
    throw WireError(fmt::format("plan registers slot {} of {}", registration.slot, limits_.num_slots));
  }
  for (const TokenId token : registration.tokens) {
    if (token < 0 || token >= limits_.vocab)
      throw WireError(fmt::format("plan registers token {} of {}", token, limits_.vocab));
  }
  if (const auto error = validate(registration.sampling, limits_.vocab))
    throw WireError(fmt::format("plan registers a sequence that cannot be: {}", error->message));
  Slot& slot = slots_[registration.slot];
  slot.registered = true;
  slot.generation = registration.generation;
  slot.next_position = slot.sampled_position = -1;
  slot.blocks.clear();
  slot.sampling =
      SamplingState(registration.sampling, registration.choice, registration.num_prompt, registration.tokens);
}

std::vector<Segment> SlotTable::apply(const MicroBatch& batch) {
  if (batch.tokens.size() > static_cast<size_t>(limits_.max_rows)) {
    throw WireError(
        fmt::format("plan has {} tokens, this rank was set up for {}", batch.tokens.size(), limits_.max_rows));
  }
  for (const TokenId token : batch.tokens) {
    if ((token < 0 || token >= limits_.vocab) && token != kFedBackToken)
      throw WireError(fmt::format("plan has token {} of {}", token, limits_.vocab));
  }
  for (const SlotRegistration& registration : batch.registrations) register_slot(registration);
  std::vector<Segment> segments;
  size_t next_block = 0;
  int first_row = 0;
  for (const PlanRow& row : batch.rows) {
    if (row.slot < 0 || row.slot >= limits_.num_slots)
      throw WireError(fmt::format("plan names slot {} of {}", row.slot, limits_.num_slots));
    Slot& slot = slots_[row.slot];
    if (!slot.registered || slot.generation != row.generation) {
      throw WireError(
          fmt::format("plan names generation {} of slot {}, which has {}", row.generation, row.slot, slot.generation));
    }
    if (slot.next_position >= 0 && slot.next_position != row.first_position) {
      throw WireError(fmt::format("plan continues slot {} at position {}, expected {}", row.slot, row.first_position,
                                  slot.next_position));
    }
    for (int i = 0; i < row.num_new_blocks; ++i) {
      const int32_t block = batch.new_blocks[next_block++];
      if (block < 0 || block >= limits_.num_blocks)
        throw WireError(fmt::format("plan names block {} of {}", block, limits_.num_blocks));
      slot.blocks.push_back(block);
    }
    const int64_t end = int64_t{row.first_position} + row.num_tokens;
    if (end > limits_.max_model_len || end > static_cast<int64_t>(slot.blocks.size()) * kBlockTokens) {
      throw WireError(fmt::format("plan runs slot {} to position {}, beyond its {} blocks or {} positions", row.slot,
                                  end, slot.blocks.size(), limits_.max_model_len));
    }
    const auto tokens = std::span(batch.tokens).subspan(static_cast<size_t>(first_row), row.num_tokens);
    if (std::find(tokens.begin(), tokens.end(), kFedBackToken) != tokens.end() &&
        (row.num_tokens != 1 || slot.sampled_position != row.first_position)) {
      throw WireError(fmt::format("plan feeds back a token to slot {} at position {}, which none was sampled for",
                                  row.slot, row.first_position));
    }
    if (row.sample) slot.sampled_position = end;
    slot.next_position = end;
    segments.push_back(
        {.first_row = first_row, .num_rows = row.num_tokens, .first_position = row.first_position, .blocks = {}});
    first_row += row.num_tokens;
  }
  for (size_t i = 0; i < segments.size(); ++i) segments[i].blocks = slots_[batch.rows[i].slot].blocks;
  return segments;
}

}  // namespace echelon
