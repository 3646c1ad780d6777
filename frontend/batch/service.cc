// A batch is one coroutine, which takes it from status to status. The store is looked at again between any two steps:
// it may have been cancelled.
#include "frontend/batch/service.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "frontend/refusals.h"
#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr size_t kMaxActive = 32;  ///< batches with a coroutine and an open file; others wait for one to end
constexpr int kLinesAtOnce = 64;   ///< looked at before others get the thread
constexpr std::chrono::seconds kPauseAfterFault{10};

/// Of the errors of a batch.
json::object fault(std::string_view code, std::string message) {
  return {{"code", code}, {"message", std::move(message)}, {"param", nullptr}, {"line", nullptr}};
}

void set_status(Batch& batch, BatchStatus status) {
  batch.status = status;
  batch.at(status) = unix_seconds();
}

asio::awaitable<void> let_others_run(asio::any_io_executor executor) {
  co_await asio::post(executor, asio::use_awaitable);
}

}  // namespace

BatchService::BatchService(const ServerOptions& options, Engine& engine, RequestLog* log)
    : options_(options),
      store_(options.batch_dir),
      executor_(thread_.get_executor(), engine, options, log, options.batch_running) {}

void BatchService::start() {
  asio::post(thread_, [this] {
    try {
      for (const int64_t number : store_.open_batches()) begin(number);
    } catch (const std::exception& error) {
      log::error("batches that were left do not go on: {}", error.what());
    }
  });
}

void BatchService::drain() {
  if (stopping_.exchange(true)) return;
  asio::post(thread_, [this] { executor_.stop_all(); });
}

void BatchService::stop() {
  if (std::exchange(stopped_, true)) return;
  drain();
  asio::post(thread_, [this] { waiting_.clear(); });
  thread_.join();  // when every coroutine has ended
}

void BatchService::begin(int64_t number) {
  waiting_.push_back(number);
  begin_waiting();
}

void BatchService::begin_waiting() {
  while (!stopping_ && !waiting_.empty() && active_.size() < kMaxActive) {
    const int64_t number = waiting_.front();
    waiting_.pop_front();
    active_.emplace(number, nullptr);
    asio::co_spawn(thread_, work(number), asio::detached);
  }
}

RequestResult<Batch> BatchService::create(Batch batch) {
  if (store_.open_batches().size() >= kMaxOpenBatches) {
    RequestError error =
        http_refusal(429, fmt::format("{} batches have not ended; try later", kMaxOpenBatches), "too_many_batches");
    error.retry_after_s = 60;
    return error;
  }
  set_status(batch, BatchStatus::validating);
  batch.expires_unix_s = *batch.at(BatchStatus::validating) + kCompletionWindowS;
  batch = store_.add_batch(std::move(batch));
  begin(batch.number);
  return batch;
}

RequestResult<Batch> BatchService::cancel(Batch batch) {
  const BatchStatus from = batch.status;
  if (from == BatchStatus::cancelling) return batch;
  if (from != BatchStatus::validating && from != BatchStatus::in_progress)
    return http_refusal(409, fmt::format("a batch that is {} cannot be cancelled", status_name(from)),
                        "batch_not_cancellable");
  set_status(batch, BatchStatus::cancelling);
  store_.update(batch, from);
  const auto active = active_.find(batch.number);
  if (active != active_.end() && active->second != nullptr) executor_.stop(*active->second);
  return batch;
}

asio::awaitable<void> BatchService::work(int64_t number) {
  while (!stopping_) {
    bool at_fault = false;
    try {
      const auto batch = store_.find_batch(number);
      if (!batch || has_ended(batch->status)) break;
      co_await advance(*batch);
    } catch (const std::exception& error) {
      log::error("a batch has to wait: {}", error.what());
      at_fault = true;
    }
    const auto until = std::chrono::steady_clock::now() + kPauseAfterFault;
    while (at_fault && !stopping_ && std::chrono::steady_clock::now() < until) {
      asio::steady_timer timer(thread_, std::chrono::milliseconds(200));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }
  active_.erase(number);
  begin_waiting();
}

asio::awaitable<void> BatchService::advance(Batch batch) {
  const bool reads = batch.status == BatchStatus::validating || batch.status == BatchStatus::in_progress;
  if (reads && !std::filesystem::exists(store_.path_of(batch.input_file))) {
    fail(std::move(batch), {fault("input_file_missing", "the input file is not there any more")});
    co_return;
  }
  if (batch.status == BatchStatus::validating) {
    co_await validate(std::move(batch));
  } else if (batch.status == BatchStatus::in_progress) {
    co_await run(std::move(batch));
  } else {
    finish(std::move(batch));
  }
}

asio::awaitable<void> BatchService::validate(Batch batch) {
  LineReader reader(store_.path_of(batch.input_file));
  BatchCheck check(batch_endpoint(batch.endpoint));
  for (int count = 1;; ++count) {
    const auto line = reader.next();
    if (!line || !check.add(*line)) break;
    if (count % kLinesAtOnce != 0) continue;
    co_await let_others_run(thread_.get_executor());
    if (stopping_) co_return;
  }
  check.end();
  if (!check.faults().empty()) {
    fail(std::move(batch), check.faults());
    co_return;
  }
  batch.total = check.num_requests();
  set_status(batch, BatchStatus::in_progress);
  store_.update(batch, BatchStatus::validating);
}

/// The next one that has no result.
std::optional<BatchLine> BatchService::next_line(const Batch& batch, LineReader& reader) {
  while (auto line = reader.next()) {
    if (store_.has_result(batch.number, line->number)) continue;
    auto parsed = parse_batch_line(line->text, batch_endpoint(batch.endpoint));
    if (parsed.has_error()) {  // the file was another one when it was looked at
      store_.add_results(batch.number, {{.line = line->number,
                                         .failed = true,
                                         .text = unanswered_line("", parsed.error().code, parsed.error().message)}});
      continue;
    }
    parsed->number = line->number;
    return std::move(*parsed);
  }
  return std::nullopt;
}

asio::awaitable<void> BatchService::run(Batch batch) {
  LineReader reader(store_.path_of(batch.input_file));
  bool is_full = false;
  BatchWork work{.name = batch.id, .tenant = batch.tenant, .next = nullptr, .answered = nullptr};
  work.next = [&] { return next_line(batch, reader); };
  work.answered = [&](LineAnswer answer) {
    is_full = is_full || store_.used_bytes() + static_cast<int64_t>(answer.text.size()) > options_.batch_disk_bytes;
    if (is_full) {
      executor_.stop(work);
    } else {
      store_.add_results(batch.number,
                         {{.line = answer.line, .failed = answer.failed, .text = std::move(answer.text)}});
    }
  };
  active_[batch.number] = &work;
  const auto expires = std::chrono::system_clock::time_point(std::chrono::seconds(batch.expires_unix_s));
  std::exception_ptr error;
  BatchExecutor::End end = BatchExecutor::End::stopped;
  try {
    end = co_await executor_.run(work, expires);
  } catch (...) {
    error = std::current_exception();
  }
  active_[batch.number] = nullptr;
  if (error != nullptr) std::rethrow_exception(error);
  if (is_full) {
    fail(std::move(batch), {fault("storage_full", fmt::format("all files together have reached {} bytes; delete some",
                                                              options_.batch_disk_bytes))});
  } else if (end == BatchExecutor::End::expired) {
    co_await expire(std::move(batch), LineReader(reader.path()));
  } else if (end == BatchExecutor::End::done) {
    set_status(batch, BatchStatus::finalizing);
    store_.update(batch, BatchStatus::in_progress);
  }
}

/// What was not answered in time is told line by line.
asio::awaitable<void> BatchService::expire(Batch batch, LineReader reader) {
  for (bool more = true; more && !stopping_;) {
    std::vector<BatchResult> results;
    for (int count = 0; more && count < kLinesAtOnce; ++count) {
      const auto line = next_line(batch, reader);
      more = line.has_value();
      if (!more) continue;
      results.push_back({.line = line->number,
                         .failed = true,
                         .text = unanswered_line(line->custom_id, "batch_expired",
                                                 "the request was not answered within the completion window")});
    }
    store_.add_results(batch.number, results);
    co_await let_others_run(thread_.get_executor());
  }
  if (stopping_) co_return;
  batch.at(BatchStatus::expired) = unix_seconds();
  set_status(batch, BatchStatus::finalizing);
  store_.update(batch, BatchStatus::in_progress);
}

void BatchService::finish(Batch batch) {
  const BatchStatus from = batch.status;
  if (from == BatchStatus::cancelling) {
    set_status(batch, BatchStatus::cancelled);
  } else if (batch.at(BatchStatus::expired)) {
    batch.status = BatchStatus::expired;
  } else {
    set_status(batch, BatchStatus::completed);
  }
  store_.end_batch(batch, from);
  log::info("{}: {}, {} of {} requests, {} failed", batch.id, status_name(batch.status), batch.completed + batch.failed,
            batch.total, batch.failed);
}

void BatchService::fail(Batch batch, json::array faults) {
  const BatchStatus from = batch.status;
  batch.errors = json::serialize(json::object{{"object", "list"}, {"data", std::move(faults)}});
  set_status(batch, BatchStatus::failed);
  store_.end_batch(batch, from);
}

}  // namespace echelon
