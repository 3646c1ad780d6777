// An Engine with nothing behind it, for frontend_bench: every stream gets the words of one text, a token an event, as
// fast as clients take them. What it is told and tells lies in memory that the client's process shares.
#pragma once

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace echelon::bench {

inline int64_t cpu_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return time.tv_sec * 1'000'000'000ll + time.tv_nsec;
}

struct BurstState {
  std::atomic<int64_t> made{0};           ///< tokens handed to listeners
  std::atomic<int64_t> taken{0};          ///< tokens that have come to the clients
  std::atomic<int> window{1};             ///< tokens of a stream that may be on their way
  std::atomic<int64_t> limit{INT64_MAX};  ///< no more tokens are made than this, but for first ones
  std::atomic<int64_t> engine_ns{0};      ///< processor time of the engine's thread
};

class BurstEngine final : public Engine {
 public:
  /// `state` must outlive it. `words`: the tokens of every answer, round and round.
  BurstEngine(std::shared_ptr<const ModelInfo> model, std::vector<TokenId> words, BurstState& state)
      : model_(std::move(model)), words_(std::move(words)), state_(state), thread_([this] { loop(); }) {}
  ~BurstEngine() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  EngineState state() const override { return EngineState::ready; }
  std::string state_reason() const override { return ""; }
  std::shared_ptr<const ModelInfo> model() const override { return model_; }
  bool is_alive() const override { return true; }

  /// The first token comes before this returns.
  RequestResult<RequestHandle> submit(Request request, std::shared_ptr<RequestListener> listener) override {
    const std::lock_guard lock(mutex_);
    const RequestHandle handle = next_handle_++;
    Job job{.listener = std::move(listener), .max_tokens = request.sampling.max_tokens};
    if (advance(job)) jobs_.emplace(handle, std::move(job));
    changed_.notify_all();
    return {boost::system::in_place_value, handle};
  }
  void cancel(RequestHandle handle) override {
    const std::lock_guard lock(mutex_);
    jobs_.erase(handle);
  }
  void stop_choice(RequestHandle handle, int) override { cancel(handle); }
  void reset_prefix_cache() override {}
  EngineMetrics metrics() const override { return {}; }
  std::vector<TracedMicroBatch> pipeline() const override { return {}; }

 private:
  static constexpr auto kPause = std::chrono::microseconds(20);
  struct Job {
    std::shared_ptr<RequestListener> listener;
    int max_tokens;
    int next = 0;
  };

  /// One token more. False: it was the last.
  bool advance(Job& job) {
    OutputEvent event;
    event.tokens.emplace_back().token = words_[static_cast<size_t>(job.next) % words_.size()];
    const bool goes_on = ++job.next < job.max_tokens;
    if (!goes_on) event.finish = FinishReason::length;
    job.listener->on_output(std::move(event));
    state_.made.fetch_add(1);
    return goes_on;
  }

  bool may_go_on() const {
    const int64_t made = state_.made.load(), on_their_way = made - state_.taken.load();
    return made < state_.limit.load() && on_their_way < state_.window.load() * static_cast<int64_t>(jobs_.size());
  }

  void loop() {
    std::unique_lock lock(mutex_);
    while (!ending_) {
      if (jobs_.empty()) {
        changed_.wait(lock);
      } else if (!may_go_on()) {
        lock.unlock();
        std::this_thread::sleep_for(kPause);
        lock.lock();
      } else {
        for (auto job = jobs_.begin(); job != jobs_.end();)
          job = advance(job->second) ? std::next(job) : jobs_.erase(job);
        state_.engine_ns.store(cpu_ns(CLOCK_THREAD_CPUTIME_ID));
      }
    }
  }

  const std::shared_ptr<const ModelInfo> model_;
  const std::vector<TokenId> words_;
  BurstState& state_;
  std::mutex mutex_;  ///< guards the four below
  std::condition_variable changed_;
  std::map<RequestHandle, Job> jobs_;
  RequestHandle next_handle_ = 1;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace echelon::bench
