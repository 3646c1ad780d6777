// What other threads call: everything goes through the inbox. The engine's own thread is in serving_loop.cc.
#include "engine/serving_engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/grammar/grammar.h"
#include "engine/schedule/wire.h"
#include "engine/steady_time.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr int kMaxChoices = 128;
constexpr int kRetryAfterSeconds = 1;

bool takes_requests(EngineState state) { return state == EngineState::ready || state == EngineState::repairing; }

RequestError not_ready(const std::string& reason) {
  return {.http_status = 503,
          .message = "the server is not ready: " + reason,
          .type = "server_error",
          .code = "not_ready",
          .retry_after_s = kRetryAfterSeconds};
}

std::optional<RequestError> pooling_refusal(const Request& request, const ModelInfo& model) {
  if (request.num_choices != 1)
    return RequestError{.message = "'n' must be 1 where hidden states are pooled", .param = "n"};
  if (request.grammar != nullptr || request.sampling.num_prompt_logprobs >= 0) {
    return RequestError{.message = "hidden states are pooled without a grammar and log-probabilities of the prompt",
                        .param = "pooling"};
  }
  if (request.prompt.size() <= static_cast<size_t>(model.max_model_len)) return std::nullopt;
  return RequestError{.message = fmt::format("This model's maximum context length is {} tokens. However, your prompt "
                                             "has {} tokens. Please reduce the length of the prompt.",
                                             model.max_model_len, request.prompt.size()),
                      .param = "prompt",
                      .code = "context_length_exceeded"};
}

/// Of a choice that goes on.
std::optional<RequestError> output_refusal(const Request& request, int64_t vocab_size) {
  if (request.output.empty()) return std::nullopt;
  const auto refusal = [](std::string why) {
    return RequestError{.http_status = 409, .message = "the answer cannot go on: " + why, .code = "cannot_resume"};
  };
  const SamplingParams& sampling = request.sampling;
  if (request.num_choices != 1 || sampling.num_logprobs >= 0 || sampling.num_prompt_logprobs >= 0)
    return refusal("that takes one choice, without log-probabilities");
  if (request.output.size() >= static_cast<size_t>(sampling.max_tokens)) return refusal("it has all of its tokens");
  for (const TokenId token : request.output) {
    if (token < 0 || token >= vocab_size) return refusal(fmt::format("token id {} is not in the vocabulary", token));
  }
  if (request.grammar == nullptr) return std::nullopt;
  Matcher matcher(request.grammar);
  for (const TokenId token : request.output) {
    if (!matcher.advance(token)) return refusal(fmt::format("token id {} is not what its format allows", token));
  }
  return std::nullopt;
}

}  // namespace

ServingEngine::ServingEngine(EngineOptions options, const Layout& layout, const std::vector<int>& host_of_rank,
                             ControlChannel& control, Callbacks callbacks)
    : options_(std::move(options)),
      max_unfinished_(options_.max_queue + options_.max_num_seqs * layout.sizes().dp),
      host_of_rank_(host_of_rank),
      control_(control),
      callbacks_(std::move(callbacks)),
      replicas_(static_cast<size_t>(layout.sizes().dp)),
      placement_(options_.balance),
      roster_(layout, host_of_rank, [this](const std::vector<int>& ranks) { return sizes_for(ranks); }),
      teams_(replicas_.size()),
      statuses_(host_of_rank.size()),
      status_epochs_(host_of_rank.size()),
      heard_(host_of_rank.size()),
      monitor_(layout.sizes().dp, static_cast<int>(host_of_rank.size())) {}

ServingEngine::~ServingEngine() {
  if (thread_.joinable()) {
    drain();
    thread_.join();
  }
}

void ServingEngine::start() {
  thread_ = std::thread([this] { run(); });
}

void ServingEngine::post(Event event) {
  {
    const std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(event));
  }
  changed_.notify_all();
}

void ServingEngine::drain() { post({.kind = Event::Kind::drain}); }

void ServingEngine::wait_until_stopped() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return state_ == EngineState::stopped || state_ == EngineState::failed; });
}

void ServingEngine::on_message(int rank, ControlMessage message) {
  post({.kind = Event::Kind::message, .number = rank, .message = std::move(message)});
}

void ServingEngine::on_lost(int rank, const std::string& reason) {
  Event event{.kind = Event::Kind::lost, .number = rank};
  event.reason = reason;
  post(std::move(event));
}

EngineState ServingEngine::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::string ServingEngine::state_reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

std::shared_ptr<const ModelInfo> ServingEngine::model() const {
  const std::lock_guard lock(mutex_);
  return model_;
}

bool ServingEngine::is_alive() const {
  const EngineState now = state();
  if (now == EngineState::failed || now == EngineState::stopped) return false;
  return !any_in_flight_ || milliseconds_now() - last_progress_ms_ < 1000 * int64_t{options_.stall_timeout_s};
}

EngineMetrics ServingEngine::metrics() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

std::optional<RequestError> ServingEngine::refusal(const Request& request) const {
  const std::shared_ptr<const ModelInfo> info = model();
  const EngineState now = state();
  if (!takes_requests(now) || !info) return not_ready(state_reason());
  if (request.prompt.empty()) return RequestError{.message = "the prompt has no tokens", .param = "prompt"};
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= info->vocab_size) {
      return RequestError{.message = fmt::format("token id {} is not in the vocabulary of {}", token, info->vocab_size),
                          .param = "prompt"};
    }
  }
  if (auto error = validate(request.sampling, info->vocab_size)) return error;
  if (request.pooling != Pooling::none) return pooling_refusal(request, *info);
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt + request.sampling.max_tokens > info->max_model_len) {
    return RequestError{
        .message =
            fmt::format("This model's maximum context length is {} tokens. However, you requested {} tokens ({} in the "
                        "prompt, {} for the "
                        "completion). Please reduce the length of the prompt or of the completion.",
                        info->max_model_len, prompt + request.sampling.max_tokens, prompt, request.sampling.max_tokens),
        .param = prompt >= info->max_model_len ? "prompt" : "max_tokens",
        .code = "context_length_exceeded"};
  }
  if (request.num_choices < 1 || request.num_choices > kMaxChoices) {
    return RequestError{.message = fmt::format("'n' must be between 1 and {}", kMaxChoices), .param = "n"};
  }
  return output_refusal(request, info->vocab_size);
}

RequestResult<RequestHandle> ServingEngine::submit(Request request, std::shared_ptr<RequestListener> listener) {
  if (auto error = refusal(request)) return *error;
  const int choices = request.num_choices;
  const std::lock_guard lock(mutex_);
  if (!takes_requests(state_)) return not_ready(reason_);  // it may have changed since refusal() looked
  if (num_unfinished_.fetch_add(choices) + choices > max_unfinished_) {
    num_unfinished_ -= choices;
    return RequestError{.http_status = 429,
                        .message = fmt::format("the queue is full ({} choices may wait)", options_.max_queue),
                        .type = "rate_limit_error",
                        .code = "queue_full",
                        .retry_after_s = kRetryAfterSeconds};
  }
  const RequestHandle handle = next_handle_++;
  inbox_.push_back(
      {.kind = Event::Kind::submit, .handle = handle, .request = std::move(request), .listener = std::move(listener)});
  changed_.notify_all();
  return {boost::system::in_place_value, handle};
}

void ServingEngine::cancel(RequestHandle handle) { post({.kind = Event::Kind::cancel, .handle = handle}); }

void ServingEngine::stop_choice(RequestHandle handle, int choice) {
  post({.kind = Event::Kind::stop_choice, .handle = handle, .number = choice});
}

void ServingEngine::reset_prefix_cache() { post({.kind = Event::Kind::reset_prefixes}); }

}  // namespace echelon
