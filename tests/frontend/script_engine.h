// An Engine for tests of the front end: a thread that answers every request with tokens that follow from its prompt, so
// that a test can say what must come out. Counts what is cancelled and stopped.
#pragma once

#include <atomic>
#include <boost/json/value.hpp>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "tests/frontend/small_model.h"

namespace echelon::testing {

/// Letter i of the answer to a prompt: byte tokens, with a space after every fifth.
inline TokenId scripted_token(const std::vector<TokenId>& prompt, int choice, int i) {
  if (i % 6 == 5) return ' ';
  uint64_t hash = 1469598103934665603u;
  for (const TokenId token : prompt) hash = (hash ^ static_cast<uint64_t>(token)) * 1099511628211u;
  return static_cast<TokenId>('a' +
                              (hash / 7 + static_cast<uint64_t>(choice) * 5 + static_cast<uint64_t>(i) * 11) % 26);
}

inline std::string scripted_text(const std::vector<TokenId>& prompt, int choice, int num_tokens) {
  std::string text;
  for (int i = 0; i < num_tokens; ++i) text += static_cast<char>(scripted_token(prompt, choice, i));
  return text;
}

/// scripted_text as a JSON string, to compare with a member of an answer.
inline boost::json::value scripted_json(const std::vector<TokenId>& prompt, int choice, int num_tokens) {
  return boost::json::value(scripted_text(prompt, choice, num_tokens));
}

/// The vector of a prompt: of values that floats hold exactly, none of them 0.
inline std::vector<float> scripted_vector(const std::vector<TokenId>& prompt, Pooling pooling) {
  std::vector<float> vector;
  for (int i = 0; i < kSmallHidden; ++i)
    vector.push_back(static_cast<float>(scripted_token(prompt, pooling == Pooling::mean ? 1 : 0, 6 * i) - 109) + 0.5f);
  return vector;
}

class ScriptEngine final : public Engine {
 public:
  explicit ScriptEngine(std::shared_ptr<const ModelInfo> model = small_model())
      : model_(std::move(model)), thread_([this] { loop(); }) {}
  ~ScriptEngine() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  // --- what a test sets; any thread ---
  std::atomic<EngineState> engine_state{EngineState::ready};
  std::atomic<bool> alive{true}, metadata_read{true};
  std::atomic<int> token_delay_us{0};  ///< between two steps
  std::atomic<int> tokens_per_event{1};
  std::atomic<int> end_after{-1};          ///< >= 0: an end token comes at this position
  std::atomic<int> fail_after{-1};         ///< >= 0: FinishReason::error at this position
  std::atomic<int> max_requests{1 << 20};  ///< beyond: 429
  std::atomic<bool> paused{false};
  /// Instead of scripted_token, when set before the first request.
  std::vector<TokenId> fixed_tokens;

  // --- what a test looks at ---
  std::atomic<int> num_resets{0};
  std::atomic<int> num_submitted{0}, num_cancelled{0}, num_choices_stopped{0};
  std::atomic<int> num_resumed_tokens{0};  ///< that requests brought along
  int num_running() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(jobs_.size());
  }
  Request last_request() const {
    const std::lock_guard lock(mutex_);
    return last_request_;
  }

  EngineState state() const override { return engine_state.load(); }
  std::string state_reason() const override {
    return engine_state.load() == EngineState::loading ? "reading weights 43 %" : "";
  }
  std::shared_ptr<const ModelInfo> model() const override { return metadata_read.load() ? model_ : nullptr; }
  bool is_alive() const override { return alive.load(); }

  RequestResult<RequestHandle> submit(Request request, std::shared_ptr<RequestListener> listener) override {
    const std::lock_guard lock(mutex_);
    if (engine_state.load() != EngineState::ready) return refused(503, "not ready", "not_ready");
    if (static_cast<int>(jobs_.size()) >= max_requests.load()) return refused(429, "the queue is full", "queue_full");
    ++num_submitted;
    last_request_ = request;
    const RequestHandle handle = next_handle_++;
    Job& job = jobs_[handle];
    job.next_token.assign(static_cast<size_t>(request.num_choices), static_cast<int>(request.output.size()));
    num_resumed_tokens += static_cast<int>(request.output.size());
    job.request = std::move(request);
    job.listener = std::move(listener);
    changed_.notify_all();
    return {boost::system::in_place_value, handle};
  }

  void cancel(RequestHandle handle) override {
    const std::lock_guard lock(mutex_);
    num_cancelled += static_cast<int>(jobs_.erase(handle));
  }

  void stop_choice(RequestHandle handle, int choice) override {
    const std::lock_guard lock(mutex_);
    const auto job = jobs_.find(handle);
    if (job == jobs_.end()) return;
    ++num_choices_stopped;
    job->second.next_token[static_cast<size_t>(choice)] = kEnded;
  }

  void reset_prefix_cache() override { ++num_resets; }

  EngineMetrics metrics() const override {
    EngineMetrics metrics;
    metrics.num_running = static_cast<uint64_t>(num_running());
    metrics.time_to_first_token.observe(0.02);
    metrics.ranks.push_back({.rank = 0, .host = "node\"0"});
    return metrics;
  }

  std::vector<TracedMicroBatch> pipeline() const override {
    return {{.replica = 0, .number = 7, .rows = 3, .stages = {{.begin_age_s = 0.5, .end_age_s = 0.25}}}};
  }

 private:
  static constexpr int kEnded = -1;
  struct Job {
    Request request;
    std::shared_ptr<RequestListener> listener;
    std::vector<int> next_token;  ///< by choice; kEnded
  };

  static RequestError refused(int status, std::string message, std::string code) {
    RequestError error;
    error.http_status = status;
    error.message = std::move(message);
    error.type = "server_error";
    error.code = std::move(code);
    error.retry_after_s = 3;
    return error;
  }

  OutputToken make_token(const Job& job, int choice, int i) const {
    OutputToken output;
    output.token = fixed_tokens.empty() ? scripted_token(job.request.prompt, job.request.first_choice + choice, i)
                                        : fixed_tokens[static_cast<size_t>(i) % fixed_tokens.size()];
    if (end_after.load() == i) output.token = kEndToken;
    if (job.request.sampling.num_logprobs >= 0) output.logprob = logprob_of(output.token, job.request.sampling);
    return output;
  }

  static TokenLogprob logprob_of(TokenId token, const SamplingParams& sampling) {
    TokenLogprob entry{.token = token, .logprob = -0.25f, .rank = 1, .top = {}};
    for (int k = 0; k < sampling.num_logprobs; ++k)
      entry.top.emplace_back((token + k) % 256, -0.25f * static_cast<float>(k + 1));
    return entry;
  }

  OutputEvent make_event(Job& job, int choice) const {
    OutputEvent event;
    event.choice = choice;
    int& next = job.next_token[static_cast<size_t>(choice)];
    const auto& prompt = job.request.prompt;
    if (job.request.pooling != Pooling::none && fail_after.load() != 0) {
      event.pooled = scripted_vector(prompt, job.request.pooling);
      event.finish = FinishReason::stop;
      next = kEnded;
      return event;
    }
    if (next == 0) {
      event.num_cached_tokens = 1;
      if (choice == 0 && job.request.sampling.num_prompt_logprobs >= 0) {
        for (size_t i = 1; i < prompt.size(); ++i)
          event.prompt_logprobs.push_back(
              {.token = prompt[i], .logprob = -static_cast<float>(i), .rank = 2, .top = {}});
      }
    }
    for (int k = 0; k < tokens_per_event.load() && !event.finish; ++k) {
      if (fail_after.load() == next) {
        event.finish = FinishReason::error;
        event.error = "rank 2 lost: secret detail";
        break;
      }
      event.tokens.push_back(make_token(job, choice, next++));
      if (event.tokens.back().token == kEndToken) {
        event.finish = FinishReason::stop;
        event.stop_token = kEndToken;
      } else if (next >= job.request.sampling.max_tokens) {
        event.finish = FinishReason::length;
      }
    }
    if (event.finish) next = kEnded;
    return event;
  }

  void loop() {
    std::unique_lock lock(mutex_);
    while (!ending_) {
      if (jobs_.empty() || paused.load()) {
        changed_.wait_for(lock, std::chrono::milliseconds(1));
        continue;
      }
      std::vector<std::pair<std::shared_ptr<RequestListener>, OutputEvent>> events;
      for (auto job = jobs_.begin(); job != jobs_.end();) {
        bool open = false;
        for (int choice = 0; choice < job->second.request.num_choices; ++choice) {
          if (job->second.next_token[static_cast<size_t>(choice)] == kEnded) continue;
          events.emplace_back(job->second.listener, make_event(job->second, choice));
          open |= job->second.next_token[static_cast<size_t>(choice)] != kEnded;
        }
        job = open ? std::next(job) : jobs_.erase(job);
      }
      lock.unlock();
      for (auto& [listener, event] : events) listener->on_output(std::move(event));
      events.clear();
      if (token_delay_us.load() > 0) std::this_thread::sleep_for(std::chrono::microseconds(token_delay_us.load()));
      lock.lock();
    }
  }

  const std::shared_ptr<const ModelInfo> model_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RequestHandle, Job> jobs_;
  RequestHandle next_handle_ = 1;
  Request last_request_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace echelon::testing
