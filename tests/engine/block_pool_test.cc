// The pool of KV blocks and the prefix cache in its free list.
#include "engine/cache/block_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace echelon {
namespace {

std::vector<TokenId> block_of(TokenId first) {
  std::vector<TokenId> tokens(kBlockTokens);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(BlockPool, HandsOutEveryBlockOnceAndThenNone) {
  BlockPool pool(3, true);
  std::vector<int> blocks;
  while (const auto block = pool.allocate()) blocks.push_back(*block);
  std::sort(blocks.begin(), blocks.end());
  EXPECT_EQ(blocks, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(pool.num_free(), 0);
  pool.release(1);
  EXPECT_EQ(pool.allocate(), 1);
}

TEST(BlockPool, FindsWhatWasPublishedOnlyBehindTheSamePrefix) {
  BlockPool pool(4, true);
  const auto first = block_of(0), second = block_of(100);
  const PrefixKey root = root_key(0), after_first = chain_key(root, first);
  const int a = *pool.allocate(), b = *pool.allocate();
  pool.publish(a, root, first);
  pool.publish(b, after_first, second);
  EXPECT_EQ(pool.lookup(root, first), a);
  EXPECT_EQ(pool.lookup(after_first, second), b);
  EXPECT_EQ(pool.lookup(root, second), std::nullopt);
  EXPECT_EQ(pool.lookup(root_key(1), first), std::nullopt) << "another tenant's salt";
  EXPECT_EQ(pool.lookup(after_first, block_of(101)), std::nullopt);
}

TEST(BlockPool, AfterAResetNothingIsFoundAndUsedBlocksStayUsed) {
  BlockPool pool(3, true);
  const auto tokens = block_of(7), others = block_of(100);
  const int used = *pool.allocate(), freed = *pool.allocate();
  pool.publish(used, root_key(0), tokens);
  pool.publish(freed, root_key(0), others);
  pool.release(freed);
  pool.forget_all();
  pool.check_integrity();
  EXPECT_EQ(pool.lookup(root_key(0), tokens), std::nullopt);
  EXPECT_EQ(pool.lookup(root_key(0), others), std::nullopt);
  EXPECT_EQ(pool.num_free(), 2);
  pool.publish(used, root_key(0), tokens);
  EXPECT_EQ(pool.lookup(root_key(0), tokens), used) << "it may be published again";
}

TEST(BlockPool, AFreedBlockIsFoundUntilItIsHandedOutAgain) {
  BlockPool pool(1, true);
  const auto tokens = block_of(7);
  const int block = *pool.allocate();
  pool.publish(block, root_key(0), tokens);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 1);
  EXPECT_EQ(pool.lookup(root_key(0), tokens), block);
  pool.release(block);
  EXPECT_EQ(pool.allocate(), block);
  EXPECT_EQ(pool.lookup(root_key(0), tokens), std::nullopt);
}

TEST(BlockPool, EvictsTheTailOfAPrefixBeforeItsHead) {
  BlockPool pool(2, true);
  const auto first = block_of(0), second = block_of(100);
  const PrefixKey root = root_key(0);
  const int head = *pool.allocate(), tail = *pool.allocate();
  pool.publish(head, root, first);
  pool.publish(tail, chain_key(root, first), second);
  pool.release(tail);
  pool.release(head);
  EXPECT_EQ(pool.allocate(), tail);
  EXPECT_EQ(pool.lookup(root, first), head);
}

TEST(BlockPool, WithoutCachingNothingIsFound) {
  BlockPool pool(1, false);
  const auto tokens = block_of(0);
  const int block = *pool.allocate();
  pool.publish(block, root_key(0), tokens);
  EXPECT_EQ(pool.lookup(root_key(0), tokens), std::nullopt);
}

TEST(BlockPool, RandomUseKeepsItsInvariants) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    BlockPool pool(8, true);
    std::vector<int> held;
    for (int step = 0; step < 500; ++step) {
      const auto tokens = block_of(static_cast<TokenId>(random() % 12));
      switch (random() % 4) {
        case 0:
          if (const auto block = pool.allocate()) held.push_back(*block);
          break;
        case 1:
          if (const auto block = pool.lookup(root_key(0), tokens)) held.push_back(*block);
          break;
        case 2:
          if (!held.empty()) pool.publish(held[random() % held.size()], root_key(0), tokens);
          break;
        default:
          if (!held.empty()) {
            std::swap(held[random() % held.size()], held.back());
            pool.release(held.back());
            held.pop_back();
          }
      }
      pool.check_integrity();
      ASSERT_EQ(pool.total_references(), static_cast<int64_t>(held.size()));
    }
  }
}

TEST(BlockPool, ForgetsWhatNobodyUsedForTooLong) {
  BlockPool pool(4, true);
  const std::vector<TokenId> old_tokens(kBlockTokens, 1), newer(kBlockTokens, 2), used(kBlockTokens, 3);
  const auto put = [&](const std::vector<TokenId>& tokens, double time_s) {
    const int block = *pool.allocate();
    pool.publish(block, root_key(0), tokens);
    pool.set_time(time_s);
    return block;
  };
  pool.release(put(old_tokens, 10));
  pool.release(put(newer, 20));
  const int held = put(used, 30);
  pool.forget_released_before(20);
  EXPECT_EQ(pool.lookup(root_key(0), old_tokens), std::nullopt);
  const auto kept = pool.lookup(root_key(0), newer);
  ASSERT_TRUE(kept);
  pool.set_time(40);
  pool.release(*kept);
  pool.forget_released_before(39);
  EXPECT_TRUE(pool.lookup(root_key(0), newer)) << "its time begins anew with every use";
  EXPECT_TRUE(pool.lookup(root_key(0), used)) << "what is in use stays";
  pool.check_integrity();
  EXPECT_EQ(pool.num_free(), 2);
  pool.release(held);
}

}  // namespace
}  // namespace echelon
