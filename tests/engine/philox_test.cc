// Philox4x32-10 against the known answers that come with Random123 (Salmon et al., SC 2011).
#include "engine/sample/philox.h"

#include <gtest/gtest.h>

#include <set>

namespace echelon {
namespace {

using Counter = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

TEST(Philox, GivesThePublishedAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}))
      << "digits of pi";
}

TEST(Philox, EveryBitOfCounterAndKeyChangesEveryLane) {
  const Counter counter{1, 2, 3, 4};
  const Key key{5, 6};
  const Counter before = philox4x32(counter, key);
  for (int bit = 0; bit < 192; ++bit) {
    Counter other = counter;
    Key other_key = key;
    const uint32_t flip = 1u << (bit % 32);
    if (bit < 128) {
      other[bit / 32] ^= flip;
    } else {
      other_key[bit / 32 - 4] ^= flip;
    }
    const Counter after = philox4x32(other, other_key);
    for (int lane = 0; lane < 4; ++lane) EXPECT_NE(after[lane], before[lane]) << "bit " << bit << ", lane " << lane;
  }
}

TEST(Philox, IsABijectionOfTheCounterForAKey) {
  std::set<Counter> seen;
  for (uint32_t i = 0; i < 20'000; ++i) seen.insert(philox4x32({i % 7, i, 0, i / 7}, {42, 0}));
  EXPECT_EQ(seen.size(), 20'000u);
}

TEST(Philox, BitsOfCountersInOrderAreBalanced) {
  constexpr int kDraws = 40'000;
  std::array<int, 128> ones{};
  for (uint32_t i = 0; i < kDraws; ++i) {
    const Counter lanes = philox4x32({i / 100, i % 100, 0, 0}, {7, 0});
    for (int bit = 0; bit < 128; ++bit) ones[bit] += lanes[bit / 32] >> (bit % 32) & 1;
  }
  // Five standard deviations of a fair coin: sqrt(n) / 2.
  for (int bit = 0; bit < 128; ++bit) EXPECT_NEAR(ones[bit], kDraws / 2, 5 * 100) << "bit " << bit;
}

}  // namespace
}  // namespace echelon
