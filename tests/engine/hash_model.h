// Ranks whose tokens are hashes of the prefix, for tests of the scheduler alone, and sequences for it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "kernels/base/limits.h"

namespace echelon {

inline constexpr TokenId kVocab = 1000;

inline TokenId hash_of(std::span<const TokenId> prefix, int choice) {
  uint64_t hash = 0x12345 + static_cast<uint64_t>(choice);
  for (const TokenId token : prefix) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001b3u;
  return static_cast<TokenId>((hash >> 20) % kVocab);
}

/// Stands in for the ranks: knows blocks only by what plans wrote into them, so that a block used wrongly gives a wrong
/// token.
class HashModel {
 public:
  explicit HashModel(int num_blocks) : memory_(num_blocks, std::vector<TokenId>(kBlockTokens, -1)) {}

  StepResult run(const MicroBatch& batch) {
    for (const SlotRegistration& slot : batch.registrations) {
      slots_[slot.slot] = {};
      slots_[slot.slot].generation = slot.generation;
      slots_[slot.slot].choice = slot.choice;
    }
    StepResult result{.epoch = batch.epoch, .number = batch.number, .rows = {}};
    size_t token = 0, block = 0, target = 0;
    for (const PlanRow& row : batch.rows) {
      Slot& slot = slots_.at(row.slot);
      EXPECT_EQ(slot.generation, row.generation);
      for (int i = 0; i < row.num_new_blocks; ++i) slot.blocks.push_back(batch.new_blocks[block++]);
      for (int i = 0; i < row.num_tokens; ++i) {
        const int position = row.first_position + i;
        const TokenId given = batch.tokens[token++];
        if (given == kFedBackToken) {
          EXPECT_EQ(position, slot.sampled_position);
        }
        memory_[slot.blocks.at(position / kBlockTokens)][position % kBlockTokens] =
            given == kFedBackToken ? slot.sampled : given;
      }
      std::vector<TokenId> prefix;
      for (int position = 0; position < row.first_position + row.num_tokens; ++position) {
        prefix.push_back(memory_[slot.blocks.at(position / kBlockTokens)][position % kBlockTokens]);
      }
      if (!row.sample && row.num_targets == 0) continue;
      RowResult answer{.slot = row.slot, .generation = row.generation, .sampled = row.sample};
      for (int i = 0; i < row.num_targets; ++i) {
        EXPECT_LE(row.first_position + row.targets_from + i + 1, static_cast<int>(prefix.size()));
        answer.prompt_logprobs.push_back(
            {.token = batch.targets[target++], .logprob = 0, .rank = row.first_position + row.targets_from + i});
      }
      if (row.sample) {
        answer.token.token = slot.sampled = hash_of(prefix, slot.choice);
        slot.sampled_position = row.first_position + row.num_tokens;
      }
      result.rows.push_back(std::move(answer));
    }
    return result;
  }

 private:
  struct Slot {
    uint32_t generation = 0;
    int choice = 0;
    std::vector<int> blocks;
    TokenId sampled = -1;
    int sampled_position = -1;
  };
  std::vector<std::vector<TokenId>> memory_;
  std::map<int, Slot> slots_;
};

inline std::vector<TokenId> alone(std::vector<TokenId> prompt, int choice, int max_tokens) {
  std::vector<TokenId> output;
  for (int i = 0; i < max_tokens; ++i) {
    output.push_back(hash_of(prompt, choice));
    prompt.push_back(output.back());
  }
  return output;
}

inline Sequence sequence(SequenceId id, int num_prompt, int max_tokens) {
  Sequence s;
  s.id = s.first_choice = s.order = id;
  s.sampling.max_tokens = max_tokens;
  for (int i = 0; i < num_prompt; ++i) s.tokens.push_back(static_cast<TokenId>(i + id * 1000));
  s.num_prompt = num_prompt;
  return s;
}

inline void add_one(Scheduler& scheduler, Sequence s) {
  std::vector<Sequence> one;
  one.push_back(std::move(s));
  scheduler.add(std::move(one));
}

inline Sequence of_tenant(TenantId tenant, SequenceId id, int num_prompt, int max_tokens) {
  Sequence s = sequence(id, num_prompt, max_tokens);
  s.tenant = tenant;
  return s;
}

}  // namespace echelon
