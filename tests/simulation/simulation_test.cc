// Thousands of runs of simulation.h. ECHELON_SIMULATION_SEEDS=FIRST-LAST runs others; a seed that fails replays
// exactly.
#include "tests/simulation/simulation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace echelon::simulation {
namespace {

struct Seeds {
  uint64_t first = 1, last = 10'000;
};

Seeds seeds() {
  Seeds chosen;
  if (const char* given = std::getenv("ECHELON_SIMULATION_SEEDS")) {
    unsigned long long first = 0, last = 0;
    if (std::sscanf(given, "%llu-%llu", &first, &last) != 2 || first > last) {
      ADD_FAILURE() << "ECHELON_SIMULATION_SEEDS is " << given << ", not FIRST-LAST";
    } else {
      chosen = {first, last};
    }
  }
  return chosen;
}

TEST(Simulation, EveryRequestGetsItsTokensOnceInOrderAndNothingIsHeld) {
  Outcome total;
  const Seeds range = seeds();
  int num_failures = 0;
  for (uint64_t seed = range.first; seed <= range.last && num_failures < 5; ++seed) {
    const Outcome one = simulate(seed, Fault::none);
    EXPECT_EQ(one.failure, "") << "seed " << seed;
    num_failures += one.failure.empty() ? 0 : 1;
    total.num_tokens += one.num_tokens;
    total.num_vectors += one.num_vectors;
    total.num_plans += one.num_plans;
    total.num_preemptions += one.num_preemptions;
    total.num_cached += one.num_cached;
    total.num_cancelled += one.num_cancelled;
  }
  fmt::print("{} plans, {} tokens, {} vectors, {} preemptions, {} prompt tokens from the cache, {} cancelled\n",
             total.num_plans, total.num_tokens, total.num_vectors, total.num_preemptions, total.num_cached,
             total.num_cancelled);
  const uint64_t num_seeds = range.last - range.first + 1;
  if (num_seeds < 1000) return;
  EXPECT_GT(total.num_preemptions, num_seeds / 2) << "the runs must meet preemption";
  EXPECT_GT(total.num_cached, num_seeds);
  EXPECT_GT(total.num_vectors, num_seeds);
  EXPECT_GT(total.num_cancelled, num_seeds);
}

TEST(Simulation, TheSameSeedIsTheSameRun) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome one = simulate(seed, Fault::none), again = simulate(seed, Fault::none);
    EXPECT_EQ(one.num_plans, again.num_plans);
    EXPECT_EQ(one.num_tokens, again.num_tokens);
    EXPECT_EQ(one.num_preemptions, again.num_preemptions);
  }
}

TEST(Simulation, LostRanksChangeNothing) {
  Outcome total;
  const Seeds range = seeds();
  const uint64_t last = range.first + (range.last - range.first) / 4;
  int num_failures = 0;
  for (uint64_t seed = range.first; seed <= last && num_failures < 5; ++seed) {
    const Outcome one = simulate(seed, Fault::rank_lost);
    EXPECT_EQ(one.failure, "") << "seed " << seed;
    EXPECT_EQ(one.fault_noticed, "") << "seed " << seed;
    num_failures += one.failure.empty() && one.fault_noticed.empty() ? 0 : 1;
    total.num_tokens += one.num_tokens;
    total.num_losses += one.num_losses;
    total.num_late += one.num_late;
  }
  fmt::print("{} losses, {} late answers, {} tokens\n", total.num_losses, total.num_late, total.num_tokens);
  const uint64_t num_seeds = last - range.first + 1;
  if (num_seeds < 250) return;
  EXPECT_GT(total.num_losses, num_seeds);
  EXPECT_GT(total.num_late, num_seeds / 4);
}

class Faults : public testing::TestWithParam<Fault> {};

TEST_P(Faults, AreNoticedOrChangeNothing) {
  int num_happened = 0, num_noticed = 0;
  const Seeds range = seeds();
  for (uint64_t seed = range.first; seed <= range.first + (range.last - range.first) / 8; ++seed) {
    const Outcome one = simulate(seed, GetParam());
    ASSERT_EQ(one.failure, "") << "seed " << seed << ", noticed: " << one.fault_noticed;
    num_happened += one.fault_happened ? 1 : 0;
    num_noticed += one.fault_noticed.empty() ? 0 : 1;
  }
  fmt::print("{} faults, {} noticed\n", num_happened, num_noticed);
  if (range.last - range.first >= 1000) {
    EXPECT_GT(num_noticed, num_happened / 2);
  }
}

std::string name_of(const testing::TestParamInfo<Fault>& fault) {
  static constexpr const char* kNames[] = {"None", "Corrupted", "Repeated", "Lost", "Swapped"};
  return kNames[static_cast<int>(fault.param)];
}

INSTANTIATE_TEST_SUITE_P(Each, Faults, testing::Values(Fault::corrupted, Fault::repeated, Fault::lost, Fault::swapped),
                         name_of);

}  // namespace
}  // namespace echelon::simulation
