// Lines of batches through the engine: a bounded number of choices at once, behind everybody else, several files by
// turns. Knows nothing of where lines come from and answers go to. Everything runs on one executor that is one thread's
// or a strand's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "frontend/access/request_log.h"
#include "frontend/batch/batch_line.h"
#include "frontend/http/options.h"
#include "frontend/metrics/batch_metrics.h"

namespace echelon {

/// Of every line, whatever its body says: no request of a user waits for one.
inline constexpr int kBatchPriority = kBackgroundPriority;

struct LineAnswer {
  int64_t line = 0;
  std::string custom_id;
  bool failed = false;  ///< another status than 200
  std::string text;     ///< of the output or error file, without the line's end
  int64_t prompt_tokens = 0, completion_tokens = 0;
};

/// The lines of one file while they run. What it borrows outlives BatchExecutor::run().
struct BatchWork {
  std::string name;    ///< for the log of requests
  std::string tenant;  ///< whose key
  /// The next line to run; nothing behind the last. May throw: that ends the work.
  std::function<std::optional<BatchLine>()> next;
  /// Once for each line that was answered. May throw: that ends the work, and the line counts as not answered.
  std::function<void(LineAnswer)> answered;
};

class BatchExecutor {
 public:
  /// max_choices: in the engine at once; a request of more runs alone. `log` may be null. All are borrowed.
  BatchExecutor(boost::asio::any_io_executor executor, Engine& engine, const ServerOptions& options, RequestLog* log,
                int max_choices);

  enum class End { done, expired, stopped };
  /// Until every line has been answered, or the time is over, or stop() was called; then nothing of it runs any more.
  /// Rethrows what `work` threw. Lines that the engine has no room for, or that meet its end, are not answered: they
  /// are tried again, until stop().
  boost::asio::awaitable<End> run(BatchWork& work, std::chrono::system_clock::time_point expires);
  /// Cancels what runs of it. No effect when it does not run.
  void stop(const BatchWork& work);
  void stop_all();
  /// Any thread.
  const BatchMetrics& metrics() const { return metrics_; }

 private:
  struct Prepared {
    BatchLine line;
    RequestResult<AnswerSetup> setup;
    int num_choices = 0;
  };
  struct Running {
    boost::asio::cancellation_signal cancel;
    int num_choices = 0;
  };
  struct Run {
    explicit Run(BatchWork& batch_work, const boost::asio::any_io_executor& executor)
        : work(batch_work), changed(executor) {}
    BatchWork& work;
    boost::asio::steady_timer changed;  ///< cancelled when something has ended
    std::optional<Prepared> next;       ///< waits for room
    std::list<Running> running;
    bool at_end = false, stopped = false;
    std::exception_ptr fault;
  };

  void schedule();
  void start_one();
  bool prepare_next(Run& run);
  void start(Run& run);
  void stop(Run& run);
  void answered(Run& run, LineAnswer answer);
  Prepared prepare(BatchLine line, const std::string& tenant) const;
  boost::asio::awaitable<LineAnswer> answer_line(std::string name, std::string tenant, Prepared prepared);
  boost::asio::awaitable<std::optional<RequestResult<boost::json::object>>> attempt(
      const ModelEndpoint& endpoint, AnswerSetup setup, std::shared_ptr<RequestRecord> record);
  bool may_be_later(const RequestError& error) const;
  boost::asio::awaitable<void> pause() const;

  const boost::asio::any_io_executor executor_;
  Engine& engine_;
  const ServerOptions options_;
  RequestLog* const log_;
  const int max_choices_;
  BatchMetrics metrics_;
  std::list<Run*> runs_;  ///< the first one's turn
  bool scheduled_ = false;
  boost::asio::steady_timer retry_;  ///< while the engine is not ready
};

}  // namespace echelon
