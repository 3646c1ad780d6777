// What the lines of batches do: lock-free, written by the batches' thread, read for /metrics.
#pragma once

#include <atomic>
#include <cstdint>

namespace echelon {

struct BatchMetrics {
  std::atomic<int64_t> choices{0};          ///< in the engine now
  std::atomic<uint64_t> lines_answered{0};  ///< with 200
  std::atomic<uint64_t> lines_failed{0};    ///< with another status
};

}  // namespace echelon
