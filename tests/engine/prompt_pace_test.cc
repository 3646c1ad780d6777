// The bound on prompt tokens beside decodes, against a machine whose times are a line, or worse.
#include "engine/schedule/prompt_pace.h"

#include <gtest/gtest.h>

namespace echelon {
namespace {

constexpr int kMost = 512;

TEST(PromptPace, WithoutATargetThereIsNoLimit) {
  PromptPace pace(0);
  pace.observe(512, 4, 10.0);
  EXPECT_EQ(pace.limit(kMost), kMost);
}

TEST(PromptPace, BeginsSmallAndComesToTheTarget) {
  PromptPace pace(0.010);
  EXPECT_LE(pace.limit(kMost), 32);
  double last = 0;
  for (int step = 0; step < 100; ++step) {  // 2 ms, 0.5 ms more for any prompt, and 50 us a token
    const int tokens = pace.limit(kMost);
    last = step % 10 == 0 ? 0.002 : 0.0025 + 50e-6 * tokens;
    pace.observe(step % 10 == 0 ? 0 : tokens, 4, last);
    ASSERT_LE(last, 0.0105) << "step " << step;
  }
  EXPECT_GE(last, 0.009);
}

TEST(PromptPace, FollowsTokensThatBecomeDearerAtOnce) {
  PromptPace pace(0.010);
  for (int i = 0; i < 50; ++i) pace.observe(0, 4, 0.002), pace.observe(100, 4, 0.006);
  EXPECT_NEAR(pace.limit(kMost), 200, 2);
  for (int i = 0; i < 4; ++i) pace.observe(100, 4, 0.010);
  EXPECT_LE(pace.limit(kMost), 110);
  for (int i = 0; i < 60; ++i) pace.observe(100, 4, 0.006);
  EXPECT_NEAR(pace.limit(kMost), 200, 5) << "and back, later";
}

TEST(PromptPace, LeavesSomethingWhenDecodesAloneTakeLonger) {
  PromptPace pace(0.010);
  pace.observe(0, 64, 0.030);
  pace.observe(10, 64, 0.035);
  EXPECT_NEAR(pace.limit(kMost), 15, 1) << "a quarter of 30 ms, at 0.5 ms each";
  EXPECT_EQ(pace.limit(4), 4);
  for (int i = 0; i < 20; ++i) pace.observe(1, 64, 10);
  EXPECT_EQ(pace.limit(kMost), 1);
}

TEST(PromptPace, ForgetsOneHiccupSoon) {
  PromptPace pace(0.010);
  for (int i = 0; i < 50; ++i) pace.observe(0, 4, 0.002), pace.observe(100, 4, 0.006);
  pace.observe(100, 4, 0.5);
  EXPECT_GE(pace.limit(kMost), 120);
}

TEST(PromptPace, TakesTimesThatCannotBe) {
  PromptPace pace(0.010);
  pace.observe(100, 4, 0.0);  // nothing: the clock is coarse
  EXPECT_GE(pace.limit(kMost), 1);
  EXPECT_LE(pace.limit(kMost), kMost);
  pace.observe(100, 4, 1e9);
  EXPECT_GE(pace.limit(kMost), 1);
}

}  // namespace
}  // namespace echelon
