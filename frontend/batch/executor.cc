// Turns: one line is started at a time, and its batch goes to the end of the list. When the next line has no room,
// nobody behind it overtakes.
#include "frontend/batch/executor.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "frontend/generation.h"
#include "frontend/openai/bodies.h"
#include "frontend/openai/ids.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds kPause{200};  ///< until the engine is asked again

}  // namespace

BatchExecutor::BatchExecutor(asio::any_io_executor executor, Engine& engine, const ServerOptions& options,
                             RequestLog* log, int max_choices)
    : executor_(std::move(executor)),
      engine_(engine),
      options_(options),
      log_(log),
      max_choices_(max_choices),
      retry_(executor_) {}

asio::awaitable<BatchExecutor::End> BatchExecutor::run(BatchWork& work, std::chrono::system_clock::time_point expires) {
  Run run(work, executor_);
  runs_.push_back(&run);
  schedule();
  bool expired = false;
  while (!run.running.empty() || !(run.stopped || (run.at_end && !run.next))) {
    const auto left = expires - std::chrono::system_clock::now();
    if (!run.stopped && left.count() <= 0) {
      expired = true;
      stop(run);
      continue;
    }
    const auto longest = std::chrono::hours(1);  // the wall clock may be set
    run.changed.expires_after(run.stopped ? longest : std::min<std::chrono::system_clock::duration>(left, longest));
    co_await run.changed.async_wait(kAwait);
  }
  runs_.remove(&run);
  schedule();
  if (run.fault) std::rethrow_exception(run.fault);
  co_return expired ? End::expired : run.stopped ? End::stopped : End::done;
}

void BatchExecutor::stop(const BatchWork& work) {
  for (Run* run : runs_) {
    if (&run->work == &work) stop(*run);
  }
}

void BatchExecutor::stop_all() {
  for (Run* run : runs_) stop(*run);
}

void BatchExecutor::stop(Run& run) {
  run.stopped = true;
  run.next.reset();
  for (Running& running : run.running) running.cancel.emit(asio::cancellation_type::terminal);
  run.changed.cancel();
}

void BatchExecutor::schedule() {
  if (std::exchange(scheduled_, true)) return;
  asio::post(executor_, [this] {
    scheduled_ = false;
    start_one();
  });
}

/// The next line of the first batch that has one. Calls itself, by schedule(), until there is no room or no line.
void BatchExecutor::start_one() {
  if (engine_.model() == nullptr || engine_.state() != EngineState::ready) {
    if (runs_.empty()) return;
    retry_.expires_after(kPause);
    retry_.async_wait([this](const boost::system::error_code& error) {
      if (!error) schedule();
    });
    return;
  }
  for (size_t turn = 0; turn < runs_.size(); ++turn) {
    Run& run = *runs_.front();
    if (prepare_next(run)) {
      const bool has_room = metrics_.choices == 0 || metrics_.choices + run.next->num_choices <= max_choices_;
      if (!has_room) return;  // whoever ends schedules
      start(run);
      runs_.splice(runs_.end(), runs_, runs_.begin());
      schedule();
      return;
    }
    runs_.splice(runs_.end(), runs_, runs_.begin());
  }
}

bool BatchExecutor::prepare_next(Run& run) {
  if (run.stopped || run.next) return run.next.has_value();
  if (run.at_end) return false;
  try {
    if (auto line = run.work.next()) {
      run.next = prepare(std::move(*line), run.work.tenant);
    } else {
      run.at_end = true;
      run.changed.cancel();
    }
  } catch (...) {
    run.fault = std::current_exception();
    stop(run);
  }
  return run.next.has_value();
}

BatchExecutor::Prepared BatchExecutor::prepare(BatchLine line, const std::string& tenant) const {
  auto setup = prepare_whole(*line.endpoint, line.body, engine_.model());
  if (setup.has_value() && setup->params.stream)
    setup = bad_request("stream", "an answer in a batch cannot be streamed", "unsupported_parameter");
  int num_choices = 0;
  if (setup.has_value()) {
    begin_answer(*line.endpoint, tenant, *setup);
    setup->params.priority = kBatchPriority;
    num_choices = static_cast<int>(setup->prompts.size()) * setup->params.num_choices;
  }
  return {.line = std::move(line), .setup = std::move(setup), .num_choices = num_choices};
}

void BatchExecutor::start(Run& run) {
  const auto task = run.running.emplace(run.running.end());
  task->num_choices = run.next->num_choices;
  metrics_.choices += task->num_choices;
  Prepared prepared = std::move(*run.next);
  run.next.reset();
  const auto ended = [this, &run, task](std::exception_ptr fault, LineAnswer answer) {
    metrics_.choices -= task->num_choices;
    run.running.erase(task);
    if (fault == nullptr) {
      answered(run, std::move(answer));
    } else if (!run.stopped) {
      run.fault = fault;
      stop(run);
    }
    run.changed.cancel();
    schedule();
  };
  asio::co_spawn(executor_, answer_line(run.work.name, run.work.tenant, std::move(prepared)),
                 asio::bind_cancellation_slot(task->cancel.slot(), ended));
}

void BatchExecutor::answered(Run& run, LineAnswer answer) {
  try {
    const bool failed = answer.failed;
    run.work.answered(std::move(answer));
    ++(failed ? metrics_.lines_failed : metrics_.lines_answered);
  } catch (...) {
    run.fault = std::current_exception();
    stop(run);
  }
}

asio::awaitable<LineAnswer> BatchExecutor::answer_line(std::string name, std::string tenant, Prepared prepared) {
  const auto record = std::make_shared<RequestRecord>();
  record->id = random_id("req_");
  record->client = std::move(name);
  record->method = "POST";
  record->path = prepared.line.endpoint->path;
  record->key = tenant;
  RequestResult<json::object> result = bad_request("", "");
  for (;;) {  // until the engine has taken it and answered, or the run is stopped
    if (prepared.setup.has_error()) {
      result = prepared.setup.error();
      break;
    }
    auto attempted = co_await attempt(*prepared.line.endpoint, std::move(*prepared.setup), record);
    if (attempted) {
      result = std::move(*attempted);
      break;
    }
    co_await pause();
    prepared = prepare(std::move(prepared.line), tenant);
  }
  record->status = result.has_value() ? 200 : result.error().http_status;
  record->total_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - record->arrival).count();
  if (log_ != nullptr) log_->write(request_log_line(*record));
  json::object body = result.has_value() ? std::move(*result) : error_body(result.error());
  co_return LineAnswer{
      .line = prepared.line.number,
      .custom_id = prepared.line.custom_id,
      .failed = result.has_error(),
      .text = answered_line(prepared.line.custom_id, record->id, record->status, std::move(body)),
      .prompt_tokens = record->prompt_tokens,
      .completion_tokens = record->completion_tokens,
  };
}

/// Nothing: not now, but perhaps later.
asio::awaitable<std::optional<RequestResult<json::object>>> BatchExecutor::attempt(
    const ModelEndpoint& endpoint, AnswerSetup setup, std::shared_ptr<RequestRecord> record) {
  auto generation =
      std::make_unique<Generation>(engine_, endpoint.make_answer(std::move(setup)), options_, record, executor_);
  std::optional<RequestResult<json::object>> outcome;
  if (auto error = generation->submit()) {
    outcome = std::move(*error);
  } else {
    outcome = co_await generation->whole();
  }
  if (outcome->has_error() && may_be_later(outcome->error())) outcome.reset();
  co_return outcome;
}

/// A full queue, a server that ends, an engine that has failed: no fault of the request.
bool BatchExecutor::may_be_later(const RequestError& error) const {
  return error.http_status == 429 || error.http_status == 503 || engine_.state() != EngineState::ready;
}

asio::awaitable<void> BatchExecutor::pause() const {
  asio::steady_timer timer(executor_, kPause);
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace echelon
