// `echelon perplexity`: which tokens count, and what they come to.
#include "launch/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/base/error.h"
#include "launch/perplexity_options.h"

namespace echelon {
namespace {

using ::testing::ElementsAre;

TEST(Perplexity, WindowsFollowEachOther) {
  std::vector<TokenId> tokens(11);
  std::iota(tokens.begin(), tokens.end(), 0);
  EXPECT_THAT(windows_of(tokens, 4, std::nullopt), ElementsAre(ElementsAre(0, 1, 2, 3), ElementsAre(4, 5, 6, 7)));
  EXPECT_THAT(windows_of(tokens, 5, 99), ElementsAre(ElementsAre(99, 1, 2, 3, 4), ElementsAre(99, 6, 7, 8, 9)));
  EXPECT_TRUE(windows_of(tokens, 12, 99).empty());
  EXPECT_EQ(first_counted(4), 3u) << "token 3 alone";
  EXPECT_EQ(first_counted(512), 257u);
}

TEST(Perplexity, OfEqualTokensIsTheirNumber) {
  PerplexitySum sum;
  const std::vector<float> quarter(10, std::log(0.25f));
  sum.add(quarter, 20);
  sum.add(quarter, 0);
  EXPECT_EQ(sum.num_tokens(), 20);
  EXPECT_NEAR(sum.perplexity(), 4, 1e-6);
  EXPECT_NEAR(sum.perplexity_error(), 0, 1e-3);
  EXPECT_NEAR(sum.bits_per_byte(), 2, 1e-6) << "two bits a token, a token a byte";
}

TEST(Perplexity, ErrorIsThatOfTheMean) {
  PerplexitySum sum;
  sum.add(std::vector<float>{-1, -3}, 2);
  EXPECT_NEAR(sum.perplexity(), std::exp(2), 1e-9);
  EXPECT_NEAR(sum.perplexity_error(), std::exp(2), 1e-9) << "deviation 1 over the root of one degree of freedom";
  EXPECT_EQ(PerplexitySum().perplexity(), 0);
  EXPECT_EQ(PerplexitySum().bits_per_byte(), 0);
}

TEST(PerplexityOptions, ATextIsNeeded) {
  EXPECT_EQ(parse_perplexity({"m", "--text", "f", "--window", "1k"}, {}).options.window, 1000);
  EXPECT_EQ(parse_perplexity({"m", "f", "-tp", "2"}, {}).options.text, "f");
  EXPECT_THROW(parse_perplexity({"m", "f", "g"}, {}), Error);
  EXPECT_THROW(parse_perplexity({"m"}, {}), Error);
  EXPECT_THROW(parse_perplexity({"--text", "f"}, {}), Error);
  EXPECT_THROW(parse_perplexity({"m", "--text", "f", "--window", "3"}, {}), Error);
  EXPECT_EQ(parse_perplexity({"m", "--text", "f", "-tp", "2"}, {}).options.serve.tensor_parallel_size, 2);
}

}  // namespace
}  // namespace echelon
