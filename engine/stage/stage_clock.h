// Where the time of a stage goes. The stage's thread only.
#pragma once

#include <chrono>
#include <cstdint>

#include "engine/engine_metrics.h"

namespace echelon {

using StageTime = std::chrono::steady_clock::time_point;

inline double seconds_between(StageTime from, StageTime to) { return std::chrono::duration<double>(to - from).count(); }

/// One micro-batch on this rank, from its activations to its result.
struct StageSpan {
  uint64_t number = 0;
  int rows = 0;
  StageTime begin, end;
};

/// Seconds since the start; wait.plan is counted by whoever waits for plans.
struct StageClock {
  double busy_seconds = 0;      ///< computing
  double sampling_seconds = 0;  ///< of them, logits and choosing tokens
  WaitSeconds wait;
  StageSpan last;
};

}  // namespace echelon
