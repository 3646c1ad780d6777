// How far the loading of weights is: a bar on a terminal, a line now and then otherwise.
// The loader calls advance() from any thread; what is printed is bounded by time, not by the number of calls.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace echelon {

/// What a loader reports to. Safe from several threads.
class Progress {
 public:
  virtual ~Progress() = default;
  virtual void advance(uint64_t num_bytes) = 0;
};

/// "rank 1  [########------------]  40 %  40.2 of 100.5 MB  812 MB/s"
std::string format_progress_bar(std::string_view label, uint64_t done_bytes, uint64_t total_bytes, double seconds);

/// "rank 1: 40 % of 100.5 MB read, 812 MB/s"
std::string format_progress_line(std::string_view label, uint64_t done_bytes, uint64_t total_bytes, double seconds);

/// Where a ProgressBar writes and how it knows the time. The defaults are standard error and the steady clock; a bar is
/// drawn when standard error is a terminal.
struct ProgressOutput {
  bool is_terminal = false;
  std::function<void(std::string_view)> write;
  std::function<std::chrono::steady_clock::time_point()> now;

  static ProgressOutput standard_error();
};

class ProgressBar : public Progress {
 public:
  static constexpr std::chrono::milliseconds kBarInterval{100};  ///< between two drawings of a bar
  static constexpr std::chrono::milliseconds kLineInterval{
      5000};  ///< between two lines; a faster load prints only its end

  /// `label` begins every line ("rank 1"). total_bytes may be 0 (then 100 % at once).
  ProgressBar(std::string label, uint64_t total_bytes, ProgressOutput output = ProgressOutput::standard_error());
  ~ProgressBar() override;  ///< calls finish() unless an exception is passing

  /// One atomic addition; now and then a line. Bytes beyond the total are counted, and shown as 100 %.
  void advance(uint64_t num_bytes) override;
  uint64_t done_bytes() const { return done_bytes_.load(std::memory_order_relaxed); }

  /// The last line, once.
  void finish();

 private:
  void print(std::chrono::steady_clock::time_point time, bool last);

  const std::string label_;
  const uint64_t total_bytes_;
  ProgressOutput output_;
  const std::chrono::steady_clock::time_point start_;
  std::atomic<uint64_t> done_bytes_{0};
  std::mutex mutex_;
  std::chrono::steady_clock::time_point next_print_;  ///< guarded by mutex_
  bool finished_ = false;                             ///< guarded by mutex_
  const int num_exceptions_;
};

}  // namespace echelon
