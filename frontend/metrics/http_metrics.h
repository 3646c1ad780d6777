// Counters of the HTTP server: lock-free, written by every io thread, read for /metrics and by tests.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace echelon {

struct HttpMetrics {
  std::array<std::atomic<uint64_t>, 5> responses{};  ///< 1xx to 5xx
  std::atomic<int64_t> connections{0};               ///< open now
  std::atomic<int64_t> in_flight{0};                 ///< requests being answered now
  std::atomic<uint64_t> connections_accepted{0};
  std::atomic<uint64_t> connections_refused{0};  ///< over the limit
  std::atomic<uint64_t> clients_left{0};         ///< before their answer was complete
  std::atomic<uint64_t> slow_readers_cut{0};

  void count_response(int status) {
    const int status_class = status / 100;
    if (status_class >= 1 && status_class <= 5) responses[status_class - 1].fetch_add(1, std::memory_order_relaxed);
  }
};

/// Adds one for as long as it lives.
class CountScope {
 public:
  explicit CountScope(std::atomic<int64_t>& counter) : counter_(counter) { counter_.fetch_add(1); }
  ~CountScope() { counter_.fetch_sub(1); }
  CountScope(const CountScope&) = delete;
  CountScope& operator=(const CountScope&) = delete;

 private:
  std::atomic<int64_t>& counter_;
};

}  // namespace echelon
