// The whole engine with ranks as threads of one process: the real scheduler, control messages, communicators and model.
// What must hold on any layout: the same tokens and log-probabilities, nothing held in the end, clear refusals.
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
namespace {

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
      cached_ = std::max(cached_, event.num_cached_tokens);
      if (event.finish) {
        finish_[event.choice] = event.finish;
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
  std::optional<FinishReason> finish(int choice = 0) const { return finish_[choice]; }
  int num_cached() const { return cached_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int open_;
  std::vector<std::vector<OutputToken>> tokens_;
  std::vector<TokenLogprob> prompt_;
  std::vector<std::optional<FinishReason>> finish_;
  int cached_ = 0;
};

class LocalCluster {
 public:
  LocalCluster(EngineOptions options, LayoutSizes sizes) : layout_(sizes, std::vector<int>(sizes.num_ranks(), 0)) {
    options.model = options.model.empty() ? smollm2() : options.model;
    options.isa = best_cpu_isa();
    const int num_ranks = sizes.num_ranks();
    controls_ = make_local_control(num_ranks);
    std::map<std::vector<int>, std::vector<std::unique_ptr<Communicator>>> groups;
    const auto group_of = [&](const std::vector<int>& members, int rank) {
      auto& group = groups[members];
      if (group.empty()) group = make_local_group(static_cast<int>(members.size()));
      return std::move(group[static_cast<size_t>(std::find(members.begin(), members.end(), rank) - members.begin())]);
    };
    for (int rank = 0; rank < num_ranks; ++rank) {
      const Place place = layout_.place(rank);
      tensor_groups_.push_back(group_of(layout_.tensor_group(place.dp, place.pp), rank));
    }
    groups.clear();
    for (int rank = 0; rank < num_ranks; ++rank)
      replica_groups_.push_back(group_of(layout_.replica(layout_.place(rank).dp), rank));
    engine_ = std::make_unique<ServingEngine>(
        options, layout_, *controls_[0],
        ServingEngine::Callbacks{.on_ready = {}, .on_failure = [this](const std::string& reason) {
                                   for (auto& runner : runners_) runner->abandon(reason);
                                 }});
    for (int rank = 0; rank < num_ranks; ++rank) {
      runners_.push_back(std::make_unique<RankRunner>(
          options, layout_, RankPlace{.rank = rank, .host = "here", .ranks_on_host = num_ranks}, *tensor_groups_[rank],
          *replica_groups_[rank], *controls_[rank]));
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
                  const bool for_engine = message.kind == MessageKind::result ||
                                          message.kind == MessageKind::layers_done ||
                                          message.kind == MessageKind::failure ||
                                          (message.kind == MessageKind::status && !is_start_order(message.payload));
                  if (for_engine) {
                    engine_->on_message(from, std::move(message));
                  } else {
                    runners_[rank]->push(std::move(message));
                  }
                },
            .on_lost = [this](int from, const std::string& reason) { engine_->on_lost(from, reason); }};
  }

  Layout layout_;
  std::vector<std::unique_ptr<ControlChannel>> controls_;
  std::vector<std::unique_ptr<Communicator>> tensor_groups_, replica_groups_;
  std::unique_ptr<ServingEngine> engine_;
  std::vector<std::unique_ptr<RankRunner>> runners_;
  std::vector<std::thread> threads_;
  RequestHandle last_handle_ = 0;
};

std::vector<TokenId> prompt_of(int length, int salt = 0) {
  std::vector<TokenId> prompt;
  for (int i = 0; i < length; ++i) prompt.push_back(300 + (i * 7919 + salt * 104729) % 40000);
  return prompt;
}

Request request_of(std::vector<TokenId> prompt, int max_tokens, float temperature = 0) {
  Request request{.id = "test", .prompt = std::move(prompt)};
  request.sampling.temperature = temperature;
  request.sampling.seed = 42;
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  request.sampling.num_logprobs = 2;
  return request;
}

EngineOptions small_options() {
  return {.max_model_len = 512, .max_num_seqs = 8, .max_batch_tokens = 64, .num_kv_blocks = 64, .num_threads = 1};
}

std::vector<Request> mixed_requests() {
  std::vector<Request> requests;
  requests.push_back(request_of(prompt_of(5), 6));
  requests.push_back(request_of(prompt_of(130), 6, 0.9f));
  requests.push_back(request_of(prompt_of(130), 4));
  requests.back().sampling.num_prompt_logprobs = 1;
  requests.push_back(request_of(prompt_of(40, 1), 5, 1.0f));
  requests.back().num_choices = 2;
  requests.push_back(request_of(prompt_of(33, 2), 5, 0.7f));
  requests.back().sampling.repetition_penalty = 1.3f;
  requests.back().sampling.top_p = 0.8f;
  return requests;
}

TEST(LocalCluster, SameBitsOnEveryLayout) {
  std::vector<std::vector<std::pair<TokenId, float>>> expected;
  for (const LayoutSizes sizes : {LayoutSizes{}, LayoutSizes{.pp = 2}, LayoutSizes{.tp = 2}, LayoutSizes{.tp = 3},
                                  LayoutSizes{.dp = 2, .tp = 1, .pp = 1}, LayoutSizes{.tp = 2, .pp = 2}}) {
    LocalCluster cluster(small_options(), sizes);
    cluster.wait_until_ready();
    std::vector<std::shared_ptr<Collector>> collectors;
    for (Request& request : mixed_requests()) collectors.push_back(cluster.submit(std::move(request)));
    for (size_t i = 0; i < collectors.size(); ++i) {
      collectors[i]->wait();
      const auto bits = collectors[i]->bits();
      ASSERT_FALSE(bits.empty());
      if (expected.size() == i) expected.push_back(bits);
      EXPECT_EQ(bits, expected[i]) << "request " << i << ", tp " << sizes.tp << " pp " << sizes.pp << " dp "
                                   << sizes.dp;
    }
    cluster.expect_nothing_held();
  }
}

TEST(LocalCluster, PrefixHitsAndPreemptionChangeNoBit) {
  EngineOptions options = small_options();
  LocalCluster roomy(options, {});
  roomy.wait_until_ready();
  const auto first = roomy.submit(request_of(prompt_of(100), 8));
  first->wait();
  const auto again = roomy.submit(request_of(prompt_of(100), 8));
  again->wait();
  EXPECT_EQ(first->num_cached(), 0);
  EXPECT_EQ(again->num_cached(), 96);
  EXPECT_EQ(first->bits(), again->bits());

  options.num_kv_blocks = 16;  // one sequence of 512 tokens
  LocalCluster narrow(options, {.pp = 2});
  narrow.wait_until_ready();
  std::vector<std::shared_ptr<Collector>> wide, tight;
  for (int i = 0; i < 6; ++i) {
    wide.push_back(roomy.submit(request_of(prompt_of(60, i), 40)));
    tight.push_back(narrow.submit(request_of(prompt_of(60, i), 40)));
  }
  for (int i = 0; i < 6; ++i) {
    wide[i]->wait();
    tight[i]->wait();
    EXPECT_EQ(wide[i]->bits(), tight[i]->bits()) << i;
  }
  EXPECT_GT(narrow.engine().metrics().preemptions, 0u);
  narrow.expect_nothing_held();
}

TEST(LocalCluster, CancelAndStopFreeEverything) {
  LocalCluster cluster(small_options(), {.pp = 2});
  cluster.wait_until_ready();
  const auto cancelled = cluster.submit(request_of(prompt_of(20), 400));
  const RequestHandle handle = cluster.last_handle();
  const auto stopped = cluster.submit(request_of(prompt_of(20, 1), 400));
  const RequestHandle stop_handle = cluster.last_handle();
  const auto other = cluster.submit(request_of(prompt_of(30), 10));
  cancelled->wait_for_tokens(3);
  cluster.engine().cancel(handle);
  cluster.engine().stop_choice(stop_handle, 0);
  cluster.engine().cancel(999999);
  cancelled->wait();
  stopped->wait();
  other->wait();
  EXPECT_EQ(cancelled->finish(), FinishReason::abort);
  EXPECT_EQ(stopped->finish(), FinishReason::stop);
  EXPECT_EQ(other->finish(), FinishReason::length);
  cluster.expect_nothing_held();
}

TEST(LocalCluster, RefusesWhatItCannotServe) {
  EngineOptions options = small_options();
  options.max_queue = 1;
  options.max_num_seqs = 1;
  LocalCluster cluster(options, {});
  const auto early = cluster.engine().submit(request_of(prompt_of(5), 5), std::make_shared<Collector>(1));
  ASSERT_TRUE(early.has_error());
  EXPECT_EQ(early.error().http_status, 503);
  cluster.wait_until_ready();
  const auto refused = [&](Request request) {
    const auto result = cluster.engine().submit(std::move(request), std::make_shared<Collector>(1));
    return result.has_error() ? result.error() : RequestError{.http_status = 200};
  };
  EXPECT_EQ(refused(request_of({}, 5)).http_status, 400);
  EXPECT_EQ(refused(request_of({-1}, 5)).param, "prompt");
  EXPECT_EQ(refused(request_of({1 << 30}, 5)).param, "prompt");
  EXPECT_EQ(refused(request_of(prompt_of(600), 5)).code, "context_length_exceeded");
  EXPECT_EQ(refused(request_of(prompt_of(500), 13)).code, "context_length_exceeded");
  Request wrong = request_of(prompt_of(5), 5);
  wrong.sampling.top_p = 0;
  EXPECT_EQ(refused(wrong).param, "top_p");
  const auto one = cluster.submit(request_of(prompt_of(5), 200));
  const auto two = cluster.submit(request_of(prompt_of(5), 200));
  EXPECT_EQ(refused(request_of(prompt_of(5), 5)).http_status, 429);
  EXPECT_GT(refused(request_of(prompt_of(5), 5)).retry_after_s, 0);
  cluster.engine().drain();
  one->wait();
  two->wait();
  EXPECT_EQ(two->finish(), FinishReason::length) << "draining lets the queue finish";
  EXPECT_EQ(refused(request_of(prompt_of(5), 5)).http_status, 503);
}

TEST(LocalCluster, SaysWhatIsWrongWithTheModelOrTheBlocks) {
  EngineOptions options = small_options();
  options.num_kv_blocks = 3;
  LocalCluster cluster(options, {.pp = 2});
  for (int i = 0; i < 6000 && cluster.engine().state() == EngineState::loading; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(cluster.engine().state(), EngineState::failed);
  EXPECT_NE(cluster.engine().state_reason().find("--num-kv-blocks"), std::string::npos)
      << cluster.engine().state_reason();
}

}  // namespace
}  // namespace echelon
