// Counters and histograms of the engine, copied out as one snapshot for /metrics and for tests.
#pragma once

#include <array>
#include <cstdint>
#include <string>
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

struct RankMetrics {
  int rank = 0;
  int dp = 0, pp = 0, tp = 0;
  std::string host;
  double cpu_seconds = 0;  ///< of the process
  uint64_t resident_bytes = 0;
  double busy_seconds = 0;  ///< computing micro-batches
  double wait_seconds = 0;  ///< waiting for a neighbour's data while it had a plan
  uint64_t weight_bytes = 0, kv_bytes = 0, activation_bytes = 0;
  double load_seconds = 0;
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
  uint64_t steps = 0;                                  ///< micro-batches committed
  double bubble_share = 0;                             ///< stage time without work while there was some
  Histogram time_to_first_token, inter_token_latency, end_to_end_latency, queue_time, step_rows;
  std::vector<RankMetrics> ranks;
  EngineMetrics();
};

}  // namespace echelon
