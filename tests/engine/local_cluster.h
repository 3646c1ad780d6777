// The whole engine with ranks as threads of one process, for tests: the real scheduler, control messages, communicators
// and model.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "engine/rank_runner.h"
#include "engine/serving_engine.h"
#include "parallel/local/local_control.h"
#include "parallel/local/local_group.h"
#include "tests/engine/single_rank.h"

namespace echelon {

/// Collects one request's output.
class Collector : public RequestListener {
 public:
  explicit Collector(int num_choices) : open_(num_choices), tokens_(num_choices), finish_(num_choices) {}

  void on_output(OutputEvent event) noexcept override {
    {
      const std::lock_guard lock(mutex_);
      auto& tokens = tokens_[event.choice];
      tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
      prompt_.insert(prompt_.end(), event.prompt_logprobs.begin(), event.prompt_logprobs.end());
      if (!event.pooled.empty()) pooled_ = event.pooled;
      cached_ = std::max(cached_, event.num_cached_tokens);
      if (event.finish) {
        finish_[event.choice] = event.finish;
        if (event.refusal) status_ = event.refusal->http_status;
        --open_;
      }
    }
    changed_.notify_all();
  }

  void wait() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(120), [&] { return open_ == 0; }))
        << "no end in two minutes";
  }
  void wait_for_tokens(size_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(120), [&] { return tokens_[0].size() >= count; }));
  }

  /// Every token and the bits of every log-probability.
  std::vector<std::pair<TokenId, float>> bits() const {
    std::vector<std::pair<TokenId, float>> all;
    for (const auto& tokens : tokens_) {
      for (const OutputToken& token : tokens) {
        all.emplace_back(token.token, token.logprob ? token.logprob->logprob : 0.0f);
        if (token.logprob) all.insert(all.end(), token.logprob->top.begin(), token.logprob->top.end());
      }
    }
    for (const TokenLogprob& logprob : prompt_) all.emplace_back(logprob.token, logprob.logprob);
    return all;
  }
  const std::vector<OutputToken>& tokens(int choice) const { return tokens_[choice]; }
  std::optional<FinishReason> finish(int choice = 0) const { return finish_[choice]; }
  const std::vector<float>& pooled() const { return pooled_; }
  int num_cached() const { return cached_; }
  int refused_with() const { return status_; }  ///< HTTP status, 0: not refused

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int open_;
  std::vector<std::vector<OutputToken>> tokens_;
  std::vector<TokenLogprob> prompt_;
  std::vector<float> pooled_;
  std::vector<std::optional<FinishReason>> finish_;
  int cached_ = 0, status_ = 0;
};

class LocalCluster {
 public:
  LocalCluster(EngineOptions options, LayoutSizes sizes, int num_spares = 0)
      : layout_(sizes, std::vector<int>(sizes.num_ranks(), 0)) {
    options.model = options.model.empty() ? smollm2() : options.model;
    options.isa = best_cpu_isa();
    const int num_ranks = sizes.num_ranks() + num_spares;
    controls_ = make_local_control(num_ranks);
    engine_ = std::make_unique<ServingEngine>(
        options, layout_, std::vector<int>(static_cast<size_t>(num_ranks), 0), *controls_[0],
        ServingEngine::Callbacks{.on_ready = {}, .on_failure = [this](const std::string& reason) {
                                   for (auto& runner : runners_) runner->abandon(reason);
                                 }});
    for (int rank = 0; rank < num_ranks; ++rank) {
      runners_.push_back(std::make_unique<RankRunner>(options,
                                                      RankSelf{.rank = rank, .num_ranks = num_ranks, .host = "here"},
                                                      groups_.maker(rank), *controls_[rank]));
    }
    for (int rank = 0; rank < num_ranks; ++rank) controls_[rank]->start(handlers(rank));
    engine_->start();
    for (int rank = 0; rank < num_ranks; ++rank) {
      threads_.emplace_back([this, rank] {
        try {
          runners_[rank]->run();
        } catch (const Error& error) {
          const std::string what = error.what();
          const auto bytes = std::as_bytes(std::span(what));
          controls_[rank]->send(0, {.kind = MessageKind::failure, .payload = {bytes.begin(), bytes.end()}});
        }
      });
    }
  }

  ~LocalCluster() {
    engine_->drain();
    engine_->wait_until_stopped();
    for (std::thread& thread : threads_) thread.join();
    for (auto& control : controls_) control->close();
    engine_.reset();
  }

  ServingEngine& engine() { return *engine_; }
  /// A rank dies without a word; its thread ends where it waits next.
  void kill(int rank) {
    break_local_control(*controls_[static_cast<size_t>(rank)], "killed by a test");
    runners_[static_cast<size_t>(rank)]->abandon("killed by a test");
  }
  std::shared_ptr<const ModelInfo> model() const { return engine_->model(); }

  void wait_until_ready() {
    for (int i = 0; i < 12000 && engine_->state() == EngineState::loading; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_EQ(engine_->state(), EngineState::ready) << engine_->state_reason();
  }

  std::shared_ptr<Collector> submit(Request request) {
    auto collector = std::make_shared<Collector>(request.num_choices);
    const auto handle = engine_->submit(std::move(request), collector);
    EXPECT_TRUE(handle.has_value()) << (handle.has_error() ? handle.error().message : "");
    if (handle.has_value()) last_handle_ = *handle;
    return collector;
  }
  RequestHandle last_handle() const { return last_handle_; }

  /// Blocks and slots come back a moment after the last token.
  void expect_nothing_held() {
    EngineMetrics metrics;
    for (int i = 0; i < 1000; ++i) {
      metrics = engine_->metrics();
      if (metrics.slots_in_use == 0 && metrics.kv_blocks_free == metrics.kv_blocks_total) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(metrics.kv_blocks_free, metrics.kv_blocks_total);
    EXPECT_EQ(metrics.slots_in_use, 0u);
    EXPECT_EQ(metrics.num_running + metrics.num_waiting, 0u);
  }

 private:
  ControlChannel::Handlers handlers(int rank) {
    return {.on_message =
                [this, rank](int from, ControlMessage message) {
                  switch (message.kind) {
                    case MessageKind::status:
                    case MessageKind::layers_done:
                    case MessageKind::result:
                    case MessageKind::broken:
                    case MessageKind::failure:
                      return engine_->on_message(from, std::move(message));
                    case MessageKind::reap:
                      return;
                    default:
                      return runners_[static_cast<size_t>(rank)]->push(std::move(message));
                  }
                },
            .on_lost =
                [this, rank](int from, const std::string& reason) {
                  if (rank == 0) engine_->on_lost(from, reason);
                },
            .on_dropped =
                [this, rank](const std::string& reason) {
                  runners_[static_cast<size_t>(rank)]->abandon("rank 0 has given up this rank: " + reason);
                }};
  }

  Layout layout_;
  std::vector<std::unique_ptr<ControlChannel>> controls_;
  LocalGroups groups_;
  std::unique_ptr<ServingEngine> engine_;
  std::vector<std::unique_ptr<RankRunner>> runners_;
  std::vector<std::thread> threads_;
  RequestHandle last_handle_ = 0;
};

inline std::vector<TokenId> prompt_of(int length, int salt = 0) {
  std::vector<TokenId> prompt;
  for (int i = 0; i < length; ++i) prompt.push_back(300 + (i * 7919 + salt * 104729) % 40000);
  return prompt;
}

inline Request request_of(std::vector<TokenId> prompt, int max_tokens, float temperature = 0) {
  Request request{.id = "test", .prompt = std::move(prompt)};
  request.sampling.temperature = temperature;
  request.sampling.seed = 42;
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  request.sampling.num_logprobs = 2;
  return request;
}

inline Request pooled_request(std::vector<TokenId> prompt, Pooling pooling) {
  Request request{.id = "test", .prompt = std::move(prompt)};
  request.pooling = pooling;
  return request;
}

inline EngineOptions small_options() {
  return {.max_model_len = 512, .max_num_seqs = 8, .max_batch_tokens = 64, .num_kv_blocks = 64, .num_threads = 1};
}

}  // namespace echelon
