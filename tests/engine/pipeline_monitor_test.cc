// What rank 0 makes of the ranks' statuses: time with and without work, shares of the last second, micro-batches that
// all stages have told of.
#include "engine/pipeline_monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace echelon {
namespace {

using ::testing::ElementsAre;

/// One replica of the first ranks.
std::unique_ptr<PipelineMonitor> monitor_of(LayoutSizes sizes) {
  auto monitor = std::make_unique<PipelineMonitor>(1, sizes.num_ranks());
  std::vector<int> ranks;
  for (int rank = 0; rank < sizes.num_ranks(); ++rank) ranks.push_back(rank);
  monitor->set_team(0, ranks, sizes.tp);
  return monitor;
}

RankStatus running(double busy, double plan_wait = 0) {
  RankStatus status{.phase = RankPhase::running};
  status.metrics.busy_seconds = busy;
  status.metrics.wait.plan = plan_wait;
  return status;
}

std::vector<uint64_t> numbers(const std::vector<TracedMicroBatch>& trace) {
  std::vector<uint64_t> all;
  for (const TracedMicroBatch& batch : trace) all.push_back(batch.number);
  return all;
}

/// Micro-batches [first, first + count), each 1 ms long, the last one ending now.
RankStatus with_spans(uint64_t first, uint32_t count) {
  RankStatus status = running(0);
  status.first_span = first;
  for (uint32_t i = 0; i < count; ++i)
    status.spans.push_back({.rows = 4, .begin_us = 1000 * (count - i), .end_us = 1000 * (count - i - 1)});
  return status;
}

TEST(PipelineMonitor, TimeWithNothingInFlightIsNoWaitForAPlan) {
  const auto owner = monitor_of({});
  PipelineMonitor& monitor = *owner;
  monitor.note_status(0, RankStatus{.phase = RankPhase::opened}, 5);
  monitor.note_status(0, RankStatus{.phase = RankPhase::ready}, 10);
  monitor.note_in_flight(0, 1, 13);
  monitor.note_in_flight(0, 2, 14);
  EXPECT_EQ(monitor.num_in_flight(), 2u);
  monitor.note_in_flight(0, 0, 17);
  monitor.note_status(0, running(3, 7), 20);
  const RankMetrics rank = monitor.ranks()[0];
  EXPECT_DOUBLE_EQ(rank.active_seconds, 4);
  EXPECT_DOUBLE_EQ(rank.idle_seconds, 6);
  EXPECT_DOUBLE_EQ(rank.wait.plan, 1);
  EXPECT_DOUBLE_EQ(monitor.bubble_share(), 0.25);
  monitor.note_status(0, running(3, 7), 21);  // its message was slow: the counter stays
  EXPECT_DOUBLE_EQ(monitor.ranks()[0].wait.plan, 1);
}

TEST(PipelineMonitor, SharesAreThoseOfTheLastTimeWithWork) {
  const auto owner = monitor_of({.pp = 2});
  PipelineMonitor& monitor = *owner;
  EXPECT_EQ(monitor.slowest_rank(), -1);
  for (const int rank : {0, 1}) monitor.note_status(rank, RankStatus{.phase = RankPhase::ready}, 0);
  monitor.note_in_flight(0, 1, 0);
  RankStatus first = running(1), second = running(3);
  first.metrics.wait.exchange = 0.5;
  first.metrics.work = {.bytes = 50, .operations = {10, 0, 0, 4}};
  first.metrics.ceiling = {.bytes = 100, .operations = {100, 0, 0, 10}};
  monitor.note_status(0, first, 4);
  monitor.note_status(1, second, 4);
  const StageShares &shares = monitor.ranks()[0].recent, &unmeasured = monitor.ranks()[1].recent;
  EXPECT_DOUBLE_EQ(shares.busy, 0.25);
  EXPECT_DOUBLE_EQ(shares.bubble, 1 - 1.5 / 4);
  EXPECT_DOUBLE_EQ(shares.mbu, 0.5);
  EXPECT_DOUBLE_EQ(shares.mfu, 10.0 / 100 + 4.0 / 10);
  EXPECT_DOUBLE_EQ(unmeasured.busy, 0.75);
  EXPECT_LT(unmeasured.mfu, 0);
  EXPECT_LT(unmeasured.mbu, 0);
  EXPECT_EQ(monitor.slowest_rank(), 1);
  monitor.note_in_flight(0, 0, 4);
  monitor.note_status(0, first, 5);  // nothing since: the shares stay
  EXPECT_DOUBLE_EQ(monitor.ranks()[0].recent.busy, 0.25);
}

TEST(PipelineMonitor, TheTeamSaysWhereARankIsNotTheRank) {
  const auto owner = monitor_of({.pp = 2});
  PipelineMonitor& monitor = *owner;
  RankStatus status = running(0);
  status.metrics.rank = 77;
  status.metrics.pp = -5;
  monitor.note_status(1, status, 0);
  EXPECT_EQ(monitor.ranks()[1].rank, 1);
  EXPECT_EQ(monitor.ranks()[1].pp, 1);
}

TEST(PipelineMonitor, TracesWhatEveryStageHasToldOf) {
  const auto owner = monitor_of({.pp = 2});
  PipelineMonitor& monitor = *owner;
  monitor.note_status(0, with_spans(1, 4), 10);
  EXPECT_TRUE(monitor.trace(10).empty());
  monitor.note_status(1, with_spans(1, 3), 10.5);
  const std::vector<TracedMicroBatch> trace = monitor.trace(11);
  ASSERT_THAT(numbers(trace), ElementsAre(1, 2, 3));
  EXPECT_EQ(trace[2].rows, 4);
  ASSERT_EQ(trace[2].stages.size(), 2u);
  EXPECT_NEAR(trace[2].stages[0].begin_age_s, 1 + 0.002, 1e-9);
  EXPECT_NEAR(trace[2].stages[0].end_age_s, 1 + 0.001, 1e-9);
  EXPECT_NEAR(trace[2].stages[1].end_age_s, 0.5, 1e-9);
  monitor.note_status(1, with_spans(4, 2), 11);
  EXPECT_THAT(numbers(monitor.trace(11)), ElementsAre(1, 2, 3, 4));
}

TEST(PipelineMonitor, AfterAGapOrAForgedNumberTheTraceBeginsAnew) {
  const auto owner = monitor_of({});
  PipelineMonitor& monitor = *owner;
  monitor.note_status(0, with_spans(1, 3), 1);
  monitor.note_status(0, with_spans(9, 2), 2);
  EXPECT_THAT(numbers(monitor.trace(2)), ElementsAre(9, 10));
  monitor.note_status(0, with_spans(UINT64_MAX, 2), 3);  // its end overflows
  EXPECT_TRUE(monitor.trace(3).empty());
  for (uint64_t first = 0; first < 5000; first += 500) monitor.note_status(0, with_spans(first, 500), 4);
  const std::vector<uint64_t> last = numbers(monitor.trace(4));
  ASSERT_EQ(last.size(), kTracedMicroBatches);
  EXPECT_EQ(last.back(), 4999u);
}

TEST(PipelineMonitor, AStageLastsFromItsFirstPartToItsLast) {
  const auto owner = monitor_of({.tp = 2});
  PipelineMonitor& monitor = *owner;
  monitor.note_status(0, with_spans(5, 1), 10);
  monitor.note_status(1, with_spans(5, 1), 10.25);
  const std::vector<TracedMicroBatch> trace = monitor.trace(11);
  ASSERT_EQ(trace.size(), 1u);
  ASSERT_EQ(trace[0].stages.size(), 1u);
  EXPECT_NEAR(trace[0].stages[0].begin_age_s, 1.001, 1e-9);
  EXPECT_NEAR(trace[0].stages[0].end_age_s, 0.75, 1e-9);
}

TEST(PipelineMonitor, AnotherTeamBeginsAnew) {
  PipelineMonitor monitor(2, 3);
  monitor.set_team(0, {0}, 1);
  monitor.set_team(1, {1}, 1);
  monitor.note_status(1, with_spans(1, 3), 10);
  EXPECT_THAT(numbers(monitor.trace(10)), ElementsAre(1, 2, 3));
  EXPECT_EQ(monitor.ranks().size(), 2u);
  monitor.set_team(1, {}, 1);
  EXPECT_THAT(numbers(monitor.trace(10)), ElementsAre());
  EXPECT_EQ(monitor.ranks().size(), 1u);
  monitor.note_status(1, with_spans(4, 1), 11);  // of a rank that nobody asks any more
  EXPECT_THAT(numbers(monitor.trace(11)), ElementsAre());
  monitor.set_team(1, {2}, 1);
  EXPECT_THAT(numbers(monitor.trace(11)), ElementsAre());
  monitor.note_status(2, with_spans(1, 1), 12);
  EXPECT_THAT(numbers(monitor.trace(12)), ElementsAre(1));
  EXPECT_EQ(monitor.ranks()[1].rank, 2);
  EXPECT_EQ(monitor.ranks()[1].dp, 1);
}

}  // namespace
}  // namespace echelon
