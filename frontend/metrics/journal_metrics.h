// What becomes of streams in the journal: lock-free, written by its threads, read for /metrics.
#pragma once

#include <atomic>
#include <cstdint>

namespace echelon {

struct JournalMetrics {
  std::atomic<uint64_t> streams{0}, resumed{0}, faults{0};
  std::atomic<int64_t> stored{0};  ///< streams in the file
};

}  // namespace echelon
