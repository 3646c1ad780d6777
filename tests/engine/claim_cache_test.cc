// The KV cache's memory is taken from the system between micro-batches: all of it in the end, and what lies in it
// stays.
#include <gtest/gtest.h>

#include <numeric>

#include "engine/host_memory.h"
#include "tests/engine/single_rank.h"

namespace echelon {
namespace {

TEST(ClaimCache, TakesAllOfItWhileTokensGoOnAsTheyWere) {
  const SingleRankOptions options{.num_threads = 2, .max_rows = 64, .num_blocks = 256};
  std::vector<TokenId> ids(300);
  std::iota(ids.begin(), ids.end(), 1000);
  SingleRank untouched(smollm2(), options), claimed(smollm2(), options);
  const SingleRank::Output expected = untouched.run(ids, 40);
  const uint64_t before = resident_bytes();
  bool goes_on = true;
  int num_parts = 0;
  const SingleRank::Output output = claimed.run(ids, 40, [&] {
    for (int i = 0; i < 4 && goes_on; ++i, ++num_parts) goes_on = claimed.model().claim_more_cache();
  });
  ASSERT_EQ(output.tokens.size(), expected.tokens.size());
  for (size_t i = 0; i < expected.tokens.size(); ++i) {
    EXPECT_EQ(output.tokens[i].token, expected.tokens[i].token);
    EXPECT_EQ(output.tokens[i].logprob->logprob, expected.tokens[i].logprob->logprob);
  }
  while (goes_on) goes_on = claimed.model().claim_more_cache(), ++num_parts;
  EXPECT_FALSE(claimed.model().claim_more_cache());
  const size_t cache_bytes =
      256 * StageModel::kv_block_bytes(claimed.open().files.spec, make_shard(claimed.open().files.spec, {}, {}, {30}),
                                       KvType::bf16);
  EXPECT_EQ(num_parts, static_cast<int>((cache_bytes + (4 << 20) - 1) / (4 << 20)));
  EXPECT_GE(resident_bytes(), before + cache_bytes * 9 / 10);
}

}  // namespace
}  // namespace echelon
