// How small a plan is, and that each of its numbers and rows has one form in bytes.
#include <gtest/gtest.h>

#include <initializer_list>
#include <iterator>
#include <limits>
#include <vector>

#include "engine/schedule/micro_batch.h"
#include "engine/schedule/wire.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

using Bytes = std::vector<std::byte>;

/// Bytes of a plan whose rows all decode one token, over those of an empty plan.
size_t decode_bytes(int num_rows, uint32_t generation, int position, TokenId token) {
  MicroBatch batch;
  for (int slot = 0; slot < num_rows; ++slot) {
    batch.rows.push_back({.slot = slot, .generation = generation, .first_position = position, .num_tokens = 1});
    batch.rows.back().sample = true;
    batch.tokens.push_back(token);
  }
  return encode(batch).size() - encode(MicroBatch{}).size();
}

TEST(PlanBytes, ADecodeTakesAtMost12Bytes) {
  constexpr int kRows = 4096, kCounts = 2;  // the lists' lengths grow from one byte to two
  EXPECT_LE(decode_bytes(kRows, 16'000, static_cast<int>(kMaxModelLen), 151'000), 12u * kRows + kCounts);
  EXPECT_LE(decode_bytes(100, 100, 100, kFedBackToken), 5u * 100);
}

/// A message that holds one number, in `bytes`.
uint32_t number_in(std::initializer_list<int> bytes, uint32_t most = std::numeric_limits<uint32_t>::max()) {
  Bytes message;
  for (const int byte : bytes) message.push_back(static_cast<std::byte>(byte));
  WireReader in(message);
  const uint32_t number = in.get_number("number", most);
  in.finish();
  return number;
}

TEST(Numbers, HaveOneFormEach) {
  for (const uint32_t number : {0u, 1u, 127u, 128u, 16'383u, 16'384u, 2'097'151u, 2'097'152u, 4'294'967'295u}) {
    WireWriter out;
    out.put_number(number);
    const Bytes bytes = out.take();
    WireReader in(bytes);
    EXPECT_EQ(in.get_number("number", number), number);
    in.finish();
    if (number > 0) {
      EXPECT_THROW(WireReader(bytes).get_number("number", number - 1), WireError) << number;
    }
  }
  EXPECT_EQ(number_in({0xff, 0xff, 0xff, 0xff, 0x0f}), 4'294'967'295u);
  EXPECT_THROW(number_in({0xff, 0xff, 0xff, 0xff, 0x1f}), WireError) << "33 bits";
  EXPECT_THROW(number_in({0x80, 0x80, 0x80, 0x80, 0x80, 0x01}), WireError) << "six bytes";
  EXPECT_THROW(number_in({0x85, 0x00}), WireError) << "5 with a byte more than it needs";
  EXPECT_THROW(number_in({0x85}), WireError) << "the end";
  EXPECT_THROW(number_in({0x05}, 4), WireError) << "too large";
}

/// The bytes of a plan of one row of one token, with the row's own bytes replaced.
Bytes plan_with_row(std::initializer_list<int> row) {
  MicroBatch batch;
  batch.rows.push_back({.slot = 1, .generation = 2, .first_position = 3, .num_tokens = 1});
  batch.tokens = {7};
  Bytes bytes = encode(batch);
  const size_t at = bytes.size() - 4 - 4;  // behind it tokens (2 bytes), blocks and targets (1 each)
  bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.begin() + static_cast<ptrdiff_t>(at + 4));
  for (auto byte = std::rbegin(row); byte != std::rend(row); ++byte) {
    bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), static_cast<std::byte>(*byte));
  }
  return bytes;
}

TEST(PlanBytes, ARowHasOneForm) {
  EXPECT_EQ(decode_micro_batch(plan_with_row({0, 1, 2, 3})).rows.at(0).slot, 1);
  EXPECT_TRUE(decode_micro_batch(plan_with_row({1, 1, 2, 3})).rows.at(0).sample);
  EXPECT_THROW(decode_micro_batch(plan_with_row({16, 1, 2, 3})), WireError) << "an unknown bit";
  EXPECT_THROW(decode_micro_batch(plan_with_row({2, 1, 2, 3, 1})), WireError) << "several tokens, one";
  EXPECT_THROW(decode_micro_batch(plan_with_row({4, 1, 2, 3, 0})), WireError) << "new blocks, none";
  EXPECT_THROW(decode_micro_batch(plan_with_row({8, 1, 2, 3, 0, 0})), WireError) << "targets, none";
}

}  // namespace
}  // namespace echelon
