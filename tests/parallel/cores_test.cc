// Sets of cores, and a thread that is bound to one.
#include "parallel/cores.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace echelon {
namespace {

TEST(Cores, TextsOfTheKernel) {
  CoreSet cores = parse_cores("0-2,8,63-64");
  EXPECT_EQ(cores.count(), 6);
  EXPECT_EQ(to_string(cores), "0-2,8,63-64");
  EXPECT_TRUE(cores.has(64));
  EXPECT_FALSE(cores.has(65));
  cores |= parse_cores("3-7\n");
  EXPECT_EQ(to_string(cores), "0-8,63-64");
  EXPECT_EQ(to_string(CoreSet()), "");
  for (const char* nothing : {"", ",", "x", "-", "5000", "9-2", "-7--3"})
    EXPECT_EQ(parse_cores(nothing), CoreSet()) << nothing;
  EXPECT_EQ(parse_cores("1000-4000").count(), 24);
}

TEST(Cores, OneThatIsBoundToOneCoreGetsAllAndOneWithMoreKeepsThem) {
  const CoreSet all = bound_cores();
  ASSERT_GT(all.count(), 0);
  std::thread([&] {
    if (all.count() > 2) {
      EXPECT_EQ(widen_binding(), all) << "not bound to one core";
    }
    int first = 0;
    while (!all.has(first)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(to_string(bound_cores()), std::to_string(first));
    const CoreSet widened = widen_binding();
    EXPECT_EQ(widened, bound_cores());
    CoreSet both = widened;
    both |= all;
    EXPECT_EQ(both, widened) << "at least what this process had";
  }).join();
}

}  // namespace
}  // namespace echelon
