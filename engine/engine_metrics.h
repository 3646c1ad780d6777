// Counters and histograms of the engine, copied out as one snapshot for /metrics and for tests.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace echelon {

/// Cumulative histogram over fixed bounds in seconds. Plain data.
struct Histogram {
  std::vector<double> bounds;    ///< ascending upper bounds; +Inf is implied
  std::vector<uint64_t> counts;  ///< one a bound and one for +Inf; not cumulative
  double sum = 0;
  uint64_t count = 0;
  explicit Histogram(std::vector<double> upper_bounds = {});
  void observe(double value);
};

/// What micro-batches need at least on one rank: every weight read once, every sequence's keys and values once, two
/// operations a multiply-add. A total, or what a rank reaches in a second.
struct StageWork {
  double bytes = 0;
  std::array<double, 4> operations{};  ///< by kOperationKinds: products by Compute, then attention
};
inline constexpr std::array<std::string_view, 4> kOperationKinds = {"int8", "bf16", "f32", "attention"};

/// Seconds a rank did not compute, by what it waited for.
struct WaitSeconds {
  double plan = 0;         ///< the next plan; a rank's own report counts the time with nothing to do, too
  double activations = 0;  ///< the hidden state of the stage before
  double send = 0;         ///< room to send its own to the stage after
  double exchange = 0;     ///< partial sums, logits and tokens of the other parts of its stage
};

/// Of the time between a rank's last two statuses in which its replica had work. Negative: not known.
struct StageShares {
  double busy = -1;    ///< computing, of the time with micro-batches in flight
  double bubble = -1;  ///< neither computing nor exchanging with other parts
  double mfu = -1;     ///< operations at the rate of the ceiling, of the time computing
  double mbu = -1;     ///< bytes at the rate of the ceiling, of the time computing
};

struct RankMetrics {
  int rank = 0;
  int dp = 0, pp = 0, tp = 0;
  std::string host;
  double cpu_seconds = 0;  ///< of the process
  uint64_t resident_bytes = 0;
  double busy_seconds = 0;      ///< computing micro-batches
  double sampling_seconds = 0;  ///< of them, logits and choosing tokens
  WaitSeconds wait;
  StageWork work;     ///< so far
  StageWork ceiling;  ///< a second; 0 until it has been measured
  uint64_t weight_bytes = 0, kv_bytes = 0, activation_bytes = 0;
  double load_seconds = 0;

  // What rank 0 adds, up to the rank's last status.
  double active_seconds = 0;  ///< its replica had micro-batches in flight
  double idle_seconds = 0;    ///< it had none
  StageShares recent;
};

/// One micro-batch on every stage of its replica, in seconds before the trace was asked for.
struct TracedMicroBatch {
  struct Span {
    double begin_age_s = 0, end_age_s = 0;  ///< from its activations to its result: begin is the larger age
  };
  int replica = 0;
  uint64_t number = 0;  ///< of the plan
  int rows = 0;
  std::vector<Span> stages;
};

struct EngineMetrics {
  uint64_t num_running = 0, num_waiting = 0;
  double kv_usage = 0;                               ///< [0, 1] of the blocks, cached-but-free ones not counted
  uint64_t kv_blocks_total = 0, kv_blocks_free = 0;  ///< free ones may be cached
  uint64_t slots_in_use = 0;
  uint64_t prompt_tokens = 0, generation_tokens = 0;
  uint64_t prefix_query_tokens = 0, prefix_hit_tokens = 0;
  uint64_t preemptions = 0;
  std::array<uint64_t, kNumFinishReasons> finished{};  ///< by FinishReason
  uint64_t ranks_lost = 0, repairs = 0;                ///< teams that were made anew
  uint64_t replayed_tokens = 0;                        ///< of prompts and outputs that began again elsewhere
  uint64_t num_spares = 0;                             ///< ranks without a place
  uint64_t steps = 0;                                  ///< micro-batches committed
  uint64_t plan_bytes = 0;                             ///< sent to all ranks
  uint64_t micro_batches_in_flight = 0;
  double bubble_share = 0;  ///< stage time without work while there was some
  int slowest_rank = -1;    ///< largest StageShares::busy; -1: not known
  Histogram time_to_first_token, inter_token_latency, end_to_end_latency, queue_time, step_rows;
  Histogram repair_time;  ///< from the loss until the replica served again
  std::vector<RankMetrics> ranks;
  EngineMetrics();
};

}  // namespace echelon
