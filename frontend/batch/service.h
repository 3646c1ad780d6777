// The batches of a server: what is stored, and the thread that runs it. Batches that a server before has left go on
// when this one starts.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "frontend/batch/executor.h"
#include "frontend/batch/store.h"

namespace echelon {

inline constexpr int64_t kMaxStoredFiles = 10'000;
inline constexpr size_t kMaxOpenBatches = 1'000;
inline constexpr int64_t kCompletionWindowS = 86'400;

/// Life: construct, start, (drain), stop. start and stop are called once, by one thread; drain by any.
class BatchService {
 public:
  /// Opens options.batch_dir. `log` may be null; `engine` and it outlive this. Throws Error(Part::frontend).
  BatchService(const ServerOptions& options, Engine& engine, RequestLog* log);
  ~BatchService() { stop(); }

  void start();
  /// What runs is cancelled and goes on at the next start; new batches wait for that, too.
  void drain();
  /// Joins the thread.
  void stop();

  /// One thread. All that follows is called on it.
  boost::asio::thread_pool& thread() { return thread_; }
  BatchStore& store() { return store_; }
  /// Any thread.
  const BatchMetrics& metrics() const { return executor_.metrics(); }
  /// `batch` as its owner asked for it; checks that there is room.
  RequestResult<Batch> create(Batch batch);
  RequestResult<Batch> cancel(Batch batch);

 private:
  void begin(int64_t number);
  void begin_waiting();
  boost::asio::awaitable<void> work(int64_t number);
  boost::asio::awaitable<void> advance(Batch batch);
  boost::asio::awaitable<void> validate(Batch batch);
  boost::asio::awaitable<void> run(Batch batch);
  boost::asio::awaitable<void> expire(Batch batch, LineReader reader);
  void finish(Batch batch);
  void fail(Batch batch, boost::json::array faults);
  std::optional<BatchLine> next_line(const Batch& batch, LineReader& reader);

  const ServerOptions options_;
  boost::asio::thread_pool thread_{1};
  BatchStore store_;
  BatchExecutor executor_;
  std::deque<int64_t> waiting_;                 ///< numbers, oldest first
  std::map<int64_t, const BatchWork*> active_;  ///< by number; null: no line of it runs
  std::atomic<bool> stopping_{false};
  bool stopped_ = false;
};

}  // namespace echelon
