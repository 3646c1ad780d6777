// The progress bar: what it prints, how seldom, and that no byte is lost when several threads report.
#include "engine/weights/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <vector>

namespace echelon {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;
using Time = std::chrono::steady_clock::time_point;

struct Screen {
  std::vector<std::string> written;
  Time time{};

  ProgressOutput output(bool is_terminal) {
    return {.is_terminal = is_terminal,
            .write = [this](std::string_view text) { written.emplace_back(text); },
            .now = [this] { return time; }};
  }
};

TEST(ProgressFormat, BarAndLine) {
  EXPECT_EQ(format_progress_bar("rank 1", 50'000'000, 100'000'000, 0.5),
            "rank 1  [############------------]  50 %  50.0 of 100.0 MB  100 MB/s");
  EXPECT_EQ(format_progress_line("rank 1", 50'000'000, 100'000'000, 0.5), "rank 1: 50 % of 100.0 MB read, 100 MB/s");
  EXPECT_THAT(format_progress_bar("r", 0, 0, 0), HasSubstr("[########################] 100 %"));
  EXPECT_THAT(format_progress_bar("r", 300, 200, 0), HasSubstr("100 %"));
  EXPECT_THAT(format_progress_bar("r", UINT64_MAX, UINT64_MAX, 1), HasSubstr("100 %"));
}

TEST(ProgressBar, ATerminalIsRedrawnAtMostTenTimesASecond) {
  Screen screen;
  ProgressBar bar("rank 0", 1000, screen.output(true));
  for (int i = 0; i < 1000; ++i) {
    screen.time += std::chrono::milliseconds(1);
    bar.advance(1);
  }
  EXPECT_THAT(screen.written, SizeIs(10));
  EXPECT_THAT(screen.written.front(), StartsWith("\rrank 0  ["));
  bar.finish();
  bar.finish();
  ASSERT_THAT(screen.written, SizeIs(11));
  EXPECT_THAT(screen.written.back(), HasSubstr("100 %"));
  EXPECT_EQ(screen.written.back().back(), '\n');
}

TEST(ProgressBar, WithoutATerminalALineNowAndThen) {
  Screen screen;
  {
    ProgressBar bar("rank 3", 100, screen.output(false));
    for (int i = 0; i < 12; ++i) {
      screen.time += std::chrono::seconds(1);
      bar.advance(5);
    }
    EXPECT_THAT(screen.written, SizeIs(2));
    bar.advance(40);
  }
  ASSERT_THAT(screen.written, SizeIs(3));
  for (const std::string& line : screen.written) {
    EXPECT_THAT(line, StartsWith("rank 3: "));
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  }
  EXPECT_THAT(screen.written.back(), HasSubstr("100 %"));
}

TEST(ProgressBar, AnExceptionPrintsNoEnd) {
  Screen screen;
  try {
    ProgressBar bar("rank 0", 100, screen.output(false));
    throw std::runtime_error("broken file");
  } catch (const std::runtime_error&) {
  }
  EXPECT_THAT(screen.written, SizeIs(0));
}

TEST(ProgressBar, ThreadsLoseNoByte) {
  std::vector<std::string> written;
  ProgressBar bar("rank 0", 40000,
                  {.is_terminal = true,
                   .write = [&written](std::string_view text) { written.emplace_back(text); },
                   .now = [] { return std::chrono::steady_clock::now(); }});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&bar] {
      for (int i = 0; i < 10000; ++i) bar.advance(1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  bar.finish();
  EXPECT_EQ(bar.done_bytes(), 40000u);
  EXPECT_THAT(written.back(), HasSubstr("100 %"));
}

}  // namespace
}  // namespace echelon
