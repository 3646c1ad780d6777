// What a plan may not say about tokens that are fed back.
#include "engine/stage/slot_table.h"

#include <gtest/gtest.h>

#include "engine/schedule/wire.h"

namespace echelon {
namespace {

/// Registers slot 0 and runs a prompt of three tokens there.
MicroBatch prompt(bool sample) {
  MicroBatch batch;
  batch.registrations.push_back(
      {.slot = 0, .generation = 1, .choice = 0, .num_prompt = 3, .sampling = {}, .tokens = {}});
  batch.rows.push_back({.slot = 0, .generation = 1, .num_tokens = 3, .num_new_blocks = 1, .sample = sample});
  batch.tokens = {1, 2, 3};
  batch.new_blocks = {0};
  return batch;
}

MicroBatch fed_back(int32_t position, std::vector<TokenId> tokens) {
  MicroBatch batch;
  batch.rows.push_back({.slot = 0,
                        .generation = 1,
                        .first_position = position,
                        .num_tokens = static_cast<int32_t>(tokens.size()),
                        .sample = true});
  batch.tokens = std::move(tokens);
  return batch;
}

SlotTable table() {
  return SlotTable({.num_slots = 1, .num_blocks = 4, .vocab = 10, .max_rows = 8, .max_model_len = 64});
}

TEST(SlotTable, ATokenIsFedBackWhereOneWasSampled) {
  SlotTable slots = table();
  slots.apply(prompt(true));
  slots.apply(fed_back(3, {kFedBackToken}));
  EXPECT_EQ(slots.apply(fed_back(4, {kFedBackToken})).at(0).first_position, 4);
}

TEST(SlotTable, ATokenIsNotFedBackWhereNoneWasSampled) {
  SlotTable slots = table();
  slots.apply(prompt(false));
  EXPECT_THROW(slots.apply(fed_back(3, {kFedBackToken})), WireError);
  slots = table();
  slots.apply(prompt(true));
  EXPECT_THROW(slots.apply(fed_back(3, {kFedBackToken, kFedBackToken})), WireError) << "one at a time";
  slots = table();
  MicroBatch first = prompt(true);
  first.tokens[0] = kFedBackToken;
  EXPECT_THROW(slots.apply(first), WireError);
  slots = table();
  slots.apply(prompt(true));
  EXPECT_THROW(slots.apply(fed_back(3, {-1})), WireError) << "no other number below 0";
}

TEST(SlotTable, ANewSequenceInTheSlotIsFedNothingOfTheOld) {
  SlotTable slots = table();
  slots.apply(prompt(true));
  MicroBatch next = prompt(false);
  next.registrations[0].generation = next.rows[0].generation = 2;
  slots.apply(next);
  MicroBatch fed = fed_back(3, {kFedBackToken});
  fed.rows[0].generation = 2;
  EXPECT_THROW(slots.apply(fed), WireError);
}

}  // namespace
}  // namespace echelon
