// When a server drains before its job's time ends: out of a variable, an option and a clock that the test gives.
#include "launch/job_end.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace echelon {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kNow = 1'800'000'000;

DrainPlan plan(int64_t left_s, int64_t before_end_s) {
  return plan_drain(std::to_string(kNow + left_s).c_str(), before_end_s, kNow);
}

TEST(JobEnd, DrainsSoLongBeforeTheEnd) {
  EXPECT_EQ(plan(3600, 120).at_unix_s, kNow + 3480);
  EXPECT_EQ(plan(240, 120).at_unix_s, kNow + 120);
  EXPECT_THAT(plan(3600, 120).message, HasSubstr("ends in 3600 s; draining begins 120 s before"));
  EXPECT_FALSE(plan(3600, 120).wrong);
}

TEST(JobEnd, AShortJobServesForHalfOfItsTime) {
  EXPECT_EQ(plan(60, 120).at_unix_s, kNow + 30);
  EXPECT_EQ(plan(119, 120).at_unix_s, kNow + 60);
  EXPECT_EQ(plan(1, 120).at_unix_s, kNow + 1);
}

TEST(JobEnd, NeverWithoutAnEndOrWhenToldSo) {
  for (const DrainPlan& none : {plan_drain(nullptr, 120, kNow), plan(3600, 0), plan_drain("soon", 0, kNow)}) {
    EXPECT_EQ(none.at_unix_s, std::nullopt);
    EXPECT_EQ(none.message, "");
    EXPECT_FALSE(none.wrong);
  }
}

TEST(JobEnd, NonsenseIsSaidAndCountsForNothing) {
  const std::string future = std::to_string(kNow + 3600);
  for (const std::string& text :
       {std::string(""), std::string("soon"), future + "x", " " + future, "+" + future, future + ".5", "-" + future,
        std::string("0"), std::string("NONE"), std::to_string(kNow), std::to_string(kNow - 1),
        std::to_string(std::numeric_limits<int64_t>::max()), std::string(40, '9'), future + "000"}) {
    const DrainPlan plan = plan_drain(text.c_str(), 120, kNow);
    EXPECT_EQ(plan.at_unix_s, std::nullopt) << text;
    EXPECT_TRUE(plan.wrong) << text;
    EXPECT_THAT(plan.message, HasSubstr("SLURM_JOB_END_TIME")) << text;
  }
  EXPECT_FALSE(plan(int64_t{365} * 86400, 120).wrong);  // a job without a limit
}

}  // namespace
}  // namespace echelon
