// Every rank has one place, every place one rank, rank 0 is {0, 0, 0}, and tensor-parallel groups stay on a host when
// they can.
#include "parallel/layout.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "kernels/base/error.h"

namespace echelon {
namespace {

TEST(Layout, OneHostInOrder) {
  const Layout layout({.dp = 1, .tp = 2, .pp = 3}, {7, 7, 7, 7, 7, 7});
  EXPECT_EQ(layout.place(0), (Place{0, 0, 0}));
  EXPECT_EQ(layout.place(3), (Place{0, 1, 1}));
  EXPECT_EQ(layout.tensor_group(0, 2), (std::vector<int>{4, 5}));
  EXPECT_EQ(layout.replica(0), (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(layout.describe(), "dp 1 x pp 3 x tp 2");
}

TEST(Layout, RanksPlacedRoundRobinOverHostsStillShareAHost) {
  const Layout layout({.dp = 1, .tp = 2, .pp = 2}, {0, 1, 0, 1});
  EXPECT_EQ(layout.tensor_group(0, 0), (std::vector<int>{0, 2}));
  EXPECT_EQ(layout.tensor_group(0, 1), (std::vector<int>{1, 3}));
}

TEST(Layout, GroupOfRankZeroIsMadeOfLeftoversWhenItsHostIsSmall) {
  // Host 0 has one rank, host 1 four, host 2 three: only host 1 holds a whole group.
  const Layout layout({.dp = 2, .tp = 4, .pp = 1}, {0, 1, 1, 1, 1, 2, 2, 2});
  EXPECT_EQ(layout.tensor_group(0, 0), (std::vector<int>{0, 5, 6, 7}));
  EXPECT_EQ(layout.tensor_group(1, 0), (std::vector<int>{1, 2, 3, 4}));
}

TEST(Layout, RandomHostsGiveABijectionWithRankZeroFirst) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const LayoutSizes sizes{.dp = 1 + int(random() % 3), .tp = 1 + int(random() % 6), .pp = 1 + int(random() % 4)};
    std::vector<int> hosts(sizes.num_ranks());
    for (int& host : hosts) host = int(random() % 4);
    const Layout layout(sizes, hosts);
    EXPECT_EQ(layout.place(0), Place{});
    std::set<int> seen;
    int on_one_host = 0;
    for (int d = 0; d < sizes.dp; ++d) {
      for (int p = 0; p < sizes.pp; ++p) {
        std::set<int> group_hosts;
        for (int rank : layout.tensor_group(d, p)) {
          EXPECT_TRUE(seen.insert(rank).second);
          EXPECT_EQ(layout.place(rank).dp, d);
          EXPECT_EQ(layout.place(rank).pp, p);
          EXPECT_EQ(layout.rank_at(layout.place(rank)), rank);
          group_hosts.insert(hosts[rank]);
        }
        on_one_host += group_hosts.size() == 1;
      }
    }
    EXPECT_EQ(int(seen.size()), sizes.num_ranks());
    int possible = 0;
    for (int host = 0; host < 4; ++host) possible += int(std::count(hosts.begin(), hosts.end(), host)) / sizes.tp;
    EXPECT_GE(on_one_host, possible);
  }
}

std::string error_of(auto&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Layout, RefusesWhatCannotBe) {
  const std::vector<int> four(4, 0);
  EXPECT_NE(error_of([&] { Layout({.dp = 1, .tp = 3, .pp = 1}, four); }).find("needs 3 ranks, but 4"),
            std::string::npos);
  EXPECT_NE(error_of([&] { Layout({.dp = 0, .tp = 4, .pp = 1}, four); }).find("-dp 0"), std::string::npos);
  EXPECT_NE(error_of([&] { Layout({.dp = 1, .tp = 25, .pp = 1}, std::vector<int>(25, 0)); }).find("24"),
            std::string::npos);
  EXPECT_NE(error_of([&] { Layout({}, {}); }).find("0 ranks"), std::string::npos);
}

TEST(ChooseLayout, FillsInWhatIsNotGiven) {
  const auto chosen = [](LayoutSizes wanted, const std::vector<int>& hosts) {
    const LayoutSizes s = choose_layout(wanted, hosts);
    return std::vector<int>{s.dp, s.tp, s.pp};
  };
  const std::vector<int> one_host(6, 0), two_hosts{0, 0, 0, 1, 1, 1};
  EXPECT_EQ(chosen({0, 0, 0}, {0}), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(chosen({0, 0, 0}, one_host), (std::vector<int>{1, 6, 1}));
  EXPECT_EQ(chosen({0, 0, 0}, two_hosts), (std::vector<int>{1, 3, 2}));
  EXPECT_EQ(chosen({0, 2, 0}, one_host), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(chosen({0, 0, 2}, one_host), (std::vector<int>{1, 3, 2}));
  EXPECT_EQ(chosen({2, 0, 0}, one_host), (std::vector<int>{2, 3, 1}));
  EXPECT_EQ(chosen({0, 1, 2}, one_host), (std::vector<int>{3, 1, 2}));
  EXPECT_EQ(chosen({0, 0, 0}, std::vector<int>(48, 0)), (std::vector<int>{1, 24, 2}));
  EXPECT_EQ(chosen({0, 0, 0}, {0, 0, 1}), (std::vector<int>{1, 1, 3}));
}

TEST(ChooseLayout, NamesFlagsAndRanks) {
  const std::string text = error_of([] { choose_layout({0, 4, 0}, std::vector<int>(6, 0)); });
  EXPECT_NE(text.find("-tp 4"), std::string::npos);
  EXPECT_NE(text.find("6 ranks"), std::string::npos);
  EXPECT_NE(error_of([] { choose_layout({0, -1, 0}, {0}); }).find("-tp -1"), std::string::npos);
  EXPECT_NE(error_of([] { choose_layout({1, 1, 1}, {0, 0}); }).find("needs 1 ranks"), std::string::npos);
  EXPECT_NE(error_of([] { choose_layout({0, 0, 1}, std::vector<int>(26, 0)); }).find("at most 24"), std::string::npos);
}

}  // namespace
}  // namespace echelon
