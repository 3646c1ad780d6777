// Who gets which place when ranks are lost.
#include "engine/roster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace echelon {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// The model fits any number of ranks as a pipeline.
std::optional<LayoutSizes> pipeline_of(const std::vector<int>& ranks) {
  return LayoutSizes{.dp = 1, .tp = 1, .pp = static_cast<int>(ranks.size())};
}

Roster roster_of(LayoutSizes sizes, std::vector<int> hosts, Roster::ChooseSizes choose = pipeline_of) {
  const std::vector<int> at_work(hosts.begin(), hosts.begin() + sizes.num_ranks());
  return {Layout(sizes, at_work), std::move(hosts), std::move(choose)};
}

/// As the engine does when a rank is lost.
std::vector<int> lose(Roster& roster, int rank) {
  const std::optional<int> replica = roster.replica_of(rank);
  if (replica) roster.break_up(*replica);
  roster.lose(rank);
  return roster.fill();
}

TEST(Roster, BeginsWithTheLayout) {
  const Roster roster = roster_of({.dp = 2, .tp = 2, .pp = 1}, {0, 0, 0, 0, 0});
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 1));
  EXPECT_THAT(roster.team(1).ranks, ElementsAre(2, 3));
  EXPECT_NE(roster.team(0).epoch, roster.team(1).epoch);
  EXPECT_THAT(roster.idle(), ElementsAre(4));
  EXPECT_EQ(roster.num_at_work_beside(4), 4);
}

TEST(Roster, ASpareTakesThePlaceAndTheOthersKeepTheirs) {
  Roster roster = roster_of({.dp = 1, .tp = 2, .pp = 2}, {0, 0, 0, 0, 0});
  const uint32_t before = roster.team(0).epoch;
  EXPECT_THAT(lose(roster, 1), ElementsAre(0));
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 4, 2, 3));
  EXPECT_GT(roster.team(0).epoch, before);
  EXPECT_THAT(roster.lost(), ElementsAre(1));
  EXPECT_THAT(roster.idle(), IsEmpty());
}

TEST(Roster, ASpareOfTheSameHostIsTaken) {
  Roster roster = roster_of({.dp = 1, .tp = 2, .pp = 2}, {0, 0, 1, 1, 0, 1});
  lose(roster, 3);
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 1, 2, 5));
  lose(roster, 5);
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 1, 2, 4)) << "better of another host than nobody";
}

TEST(Roster, WithoutSparesTheOtherReplicasGoOn) {
  Roster roster = roster_of({.dp = 2, .tp = 1, .pp = 2}, {0, 0, 0, 0});
  EXPECT_THAT(lose(roster, 1), IsEmpty());
  EXPECT_FALSE(roster.team(0).serves());
  EXPECT_TRUE(roster.team(1).serves());
  EXPECT_THAT(roster.idle(), ElementsAre(0));
  EXPECT_THAT(lose(roster, 3), ElementsAre(0)) << "the two that are left make one replica again";
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 2));
}

TEST(Roster, TheLastReplicaIsLaidOutOnFewerRanks) {
  Roster roster = roster_of({.dp = 1, .tp = 2, .pp = 2}, {0, 0, 0, 0});
  EXPECT_THAT(lose(roster, 2), ElementsAre(0));
  EXPECT_EQ(roster.team(0).sizes.pp, 3);
  EXPECT_EQ(roster.team(0).sizes.tp, 1);
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 1, 3));
  lose(roster, 1);
  lose(roster, 3);
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0));
}

TEST(Roster, RanksThatCannotHoldTheModelTogetherAreLeftOut) {
  const auto only_two = [](const std::vector<int>& ranks) {
    return ranks.size() == 2 ? std::optional(LayoutSizes{.dp = 1, .tp = 2, .pp = 1}) : std::nullopt;
  };
  Roster roster = roster_of({.dp = 1, .tp = 4, .pp = 1}, {0, 0, 0, 0}, only_two);
  lose(roster, 3);
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 1));
  EXPECT_THAT(roster.idle(), ElementsAre(2));
  lose(roster, 1);
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 2));
  EXPECT_THAT(lose(roster, 2), IsEmpty());
  EXPECT_FALSE(roster.any_serves());
}

TEST(Roster, ABrokenEpochBeginsAgainWithTheSameRanks) {
  Roster roster = roster_of({.dp = 1, .tp = 1, .pp = 2}, {0, 0, 0});
  const uint32_t before = roster.team(0).epoch;
  roster.break_up(0);
  EXPECT_THAT(roster.fill(), ElementsAre(0));
  EXPECT_THAT(roster.team(0).ranks, ElementsAre(0, 1));
  EXPECT_GT(roster.team(0).epoch, before);
}

/// Ranks are lost at random until one is left: nobody has two places, no place is empty, epochs never come again.
TEST(Roster, HoldsWhateverIsLost) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
    const LayoutSizes sizes{.dp = 1 + below(3), .tp = 1 + below(3), .pp = 1 + below(3)};
    const int num_ranks = sizes.num_ranks() + below(3);
    std::vector<int> hosts(static_cast<size_t>(num_ranks));
    for (int& host : hosts) host = below(3);
    Roster roster = roster_of(sizes, hosts);
    std::set<uint32_t> epochs;
    for (int left = num_ranks; left > 1; --left) {
      int rank = 0;
      do rank = below(num_ranks);
      while (rank == 0 || roster.is_lost(rank));
      for (const int replica : lose(roster, rank)) EXPECT_TRUE(epochs.insert(roster.team(replica).epoch).second);
      std::set<int> seen;
      int num_serving = 0;
      for (int replica = 0; replica < sizes.dp; ++replica) {
        const Roster::Team& team = roster.team(replica);
        if (!team.serves()) continue;
        ++num_serving;
        EXPECT_EQ(team.sizes.num_ranks(), team.num_ranks());
        for (const int member : team.ranks) {
          EXPECT_TRUE(seen.insert(member).second);
          EXPECT_FALSE(roster.is_lost(member));
          EXPECT_EQ(roster.replica_of(member), replica);
        }
      }
      for (const int idle : roster.idle()) EXPECT_TRUE(seen.insert(idle).second);
      EXPECT_EQ(static_cast<int>(seen.size()), left - 1);
      EXPECT_GE(num_serving, 1);
      EXPECT_GE(num_serving, std::min(sizes.dp, (left - 1) / (sizes.tp * sizes.pp)));
    }
  }
}

}  // namespace
}  // namespace echelon
