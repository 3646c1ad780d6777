// The pool runs every part once, in the one floating-point mode, hands exceptions on, and sleeps when idle.
#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <time.h>
#include <xmmintrin.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "kernels/cpu/float_environment.h"

namespace echelon::cpu {
namespace {

class ThreadPoolTest : public testing::TestWithParam<std::tuple<int, ThreadPool::Waiting>> {
 protected:
  ThreadPool pool_{std::get<0>(GetParam()), std::get<1>(GetParam())};
};

TEST_P(ThreadPoolTest, EveryPartRunsOnceAndAShareOnOneThread) {
  for (int round = 0; round < 300; ++round) {
    for (int num_parts : {0, 1, 2, 3, 7, 64}) {
      std::vector<int> calls(num_parts);
      std::vector<std::thread::id> threads(num_parts);
      pool_.parallel(num_parts, [&](int part) {
        ++calls[part];
        threads[part] = std::this_thread::get_id();
      });
      for (int part = 0; part < num_parts; ++part) {
        ASSERT_EQ(calls[part], 1);
        ASSERT_EQ(threads[part], threads[part % pool_.num_threads()]);
      }
    }
  }
}

/// A worker that is busy or does not wake holds nothing up: here each is held in a part of its own until the others
/// ran.
TEST_P(ThreadPoolTest, SharesThatNobodyBeganAreTakenByWhoIsDone) {
  if (pool_.num_threads() < 3) return;
  std::atomic<int> finished{0};
  pool_.parallel(3, [&](int part) {
    if (part == 1) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (finished.load() < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      EXPECT_EQ(finished.load(), 2);
    } else {
      ++finished;
    }
  });
}

TEST_P(ThreadPoolTest, ResultsOfACallAreSeenByTheNext) {
  std::vector<int64_t> values(8, 1);
  for (int round = 0; round < 2000; ++round) {
    const int64_t sum = [&] {
      int64_t total = 0;
      for (int64_t value : values) total += value;
      return total % 1000;
    }();
    std::vector<int64_t> next(8);
    pool_.parallel(8, [&](int part) { next[part] = values[(part + 1) % 8] + sum; });
    for (int part = 0; part < 8; ++part) ASSERT_EQ(next[part], values[(part + 1) % 8] + sum);
    values = next;
  }
}

TEST_P(ThreadPoolTest, PartsRunInTheFloatEnvironmentAndTheCallerGetsItsOwnBack) {
  const unsigned before = _mm_getcsr();
  std::vector<unsigned> modes(5);
  pool_.parallel(5, [&](int part) { modes[part] = _mm_getcsr() & 0xffc0u; });
  for (unsigned mode : modes) EXPECT_EQ(mode, FloatEnvironment::kMode);
  EXPECT_EQ(_mm_getcsr(), before);
}

TEST_P(ThreadPoolTest, AnExceptionReachesTheCallerAndThePoolGoesOn) {
  const unsigned before = _mm_getcsr();
  EXPECT_THROW(pool_.parallel(4,
                              [](int part) {
                                if (part == 3) throw std::runtime_error("part 3");
                              }),
               std::runtime_error);
  EXPECT_EQ(_mm_getcsr(), before);
  std::vector<int> calls(4);
  pool_.parallel(4, [&](int part) { ++calls[part]; });
  EXPECT_EQ(calls, std::vector<int>(4, 1));
}

TEST_P(ThreadPoolTest, AnIdlePoolUsesNoProcessorTime) {
  pool_.parallel(4, [](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(5));  // past the spin
  const auto process_ms = [] {
    timespec used{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1000 + used.tv_nsec / 1000000;
  };
  const auto before = process_ms();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LE(process_ms() - before, 20);  // two spinning workers would use 400
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest,
                         testing::Combine(testing::Values(1, 2, 3),
                                          testing::Values(ThreadPool::Waiting::spin, ThreadPool::Waiting::sleep)));

TEST(ThreadPoolShareTest, SharesCoverTheWholeInOrder) {
  for (int64_t total : {0, 1, 5, 16, 97}) {
    for (int num_parts : {1, 2, 3, 24}) {
      int64_t next = 0;
      for (int part = 0; part < num_parts; ++part) {
        const Share share = share_of(total, part, num_parts);
        EXPECT_EQ(share.first, next);
        EXPECT_LE(share.end - share.first, total / num_parts + 1);
        next = share.end;
      }
      EXPECT_EQ(next, total);
    }
  }
}

}  // namespace
}  // namespace echelon::cpu
