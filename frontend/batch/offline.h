// A file of requests through an engine, without a server: answers are appended to a file as they come. Killed at any
// moment and started again, it goes on where it was: what the output file has is not asked again.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "frontend/batch/executor.h"

namespace echelon {

struct OfflineProgress {
  int64_t total = 0;                                 ///< requests of the input
  int64_t done = 0, failed = 0;                      ///< answers in the output, those of a run before, too
  int64_t answered_now = 0;                          ///< of them by this run
  int64_t prompt_tokens = 0, completion_tokens = 0;  ///< of this run
  double seconds = 0;                                ///< since start()
};

/// Life: construct, start once the engine is ready, stop. Any thread; start behind stop has no effect.
class OfflineBatch {
 public:
  /// Checks every line of the input, and that the output is of this input. Throws Error(Part::frontend) that names file
  /// and line, also when another process writes the output.
  OfflineBatch(const std::filesystem::path& input, const std::filesystem::path& output);
  ~OfflineBatch();

  /// `report` is called on a thread of its own every `period`; `ended` once, behind the last answer, or with what went
  /// wrong (then it can be started again by another process). `engine` outlives this.
  void start(Engine& engine, const ServerOptions& options, int max_choices, std::chrono::milliseconds period,
             std::function<void(const OfflineProgress&)> report, std::function<void(std::exception_ptr)> ended);
  /// What runs is cancelled. Waits for the thread.
  void stop();
  /// Before start() and after stop(), or in report().
  OfflineProgress progress() const;

 private:
  void read_output(const BatchCheck& check);
  void append(LineAnswer answer);
  std::optional<BatchLine> next_line();
  boost::asio::awaitable<void> run(std::function<void(std::exception_ptr)> ended);
  boost::asio::awaitable<void> report_every(std::chrono::milliseconds period,
                                            std::function<void(const OfflineProgress&)> report);

  const std::filesystem::path output_path_;
  LineReader reader_;
  int output_ = -1;
  std::unordered_set<std::string> answered_before_;  ///< custom_ids
  OfflineProgress progress_;
  std::chrono::steady_clock::time_point begin_;
  boost::asio::thread_pool thread_{1};
  boost::asio::steady_timer report_timer_{thread_};
  std::unique_ptr<BatchExecutor> executor_;
  BatchWork work_;
  bool ended_ = false;  ///< on the thread
  std::mutex mutex_;    ///< of start and stop
  bool stopped_ = false;
};

}  // namespace echelon
