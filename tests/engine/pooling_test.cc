// Requests that ask for a pooled hidden state in place of tokens, with ranks as threads: the same bits on every layout,
// in any chunks and company, and what a prefix cache and a narrow pool may do to them.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "engine/grammar/grammar.h"
#include "engine/schedule/wire.h"
#include "tests/engine/hash_model.h"
#include "tests/engine/local_cluster.h"

namespace echelon {
namespace {

/// As bytes: floats that compare equal need not be the same.
std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

constexpr int kLengths[] = {1, 5, 32, 33, 130, 512};  ///< the last is the whole context

/// From hidden states that one rank computes for a whole prompt at once.
class Expected {
 public:
  std::string last(const std::vector<TokenId>& prompt) { return bytes_of(hidden(prompt).back()); }
  std::string mean(const std::vector<TokenId>& prompt) {
    const auto& states = hidden(prompt);
    std::vector<float> mean;
    for (size_t i = 0; i < states[0].size(); ++i) {
      double sum = 0;
      for (const auto& state : states) sum += static_cast<double>(state[i]);
      mean.push_back(static_cast<float>(sum / static_cast<double>(states.size())));
    }
    return bytes_of(mean);
  }
  std::string of(const std::vector<TokenId>& prompt, Pooling pooling) {
    return pooling == Pooling::last ? last(prompt) : mean(prompt);
  }

 private:
  const std::vector<std::vector<float>>& hidden(const std::vector<TokenId>& prompt) {
    auto& states = known_[prompt];
    if (states.empty()) states = rank_.final_hidden(prompt);
    return states;
  }
  SingleRank rank_{smollm2(), {.max_rows = 512, .num_blocks = 16}};
  std::map<std::vector<TokenId>, std::vector<std::vector<float>>> known_;
};

TEST(Pooling, SameBitsOnEveryLayoutInAnyChunksAndCompany) {
  struct Setting {
    LayoutSizes sizes;
    int max_batch_tokens = 64;
    bool has_mates = false;
  };
  Expected expected;
  for (const Setting& setting :
       {Setting{}, Setting{.max_batch_tokens = 512}, Setting{.max_batch_tokens = 7, .has_mates = true},
        Setting{.sizes = {.pp = 2}}, Setting{.sizes = {.pp = 3}, .max_batch_tokens = 24, .has_mates = true},
        Setting{.sizes = {.tp = 2}, .has_mates = true}, Setting{.sizes = {.tp = 2, .pp = 2}, .max_batch_tokens = 40},
        Setting{.sizes = {.dp = 2}, .has_mates = true}}) {
    EngineOptions options = small_options();
    options.max_batch_tokens = setting.max_batch_tokens;
    LocalCluster cluster(options, setting.sizes);
    cluster.wait_until_ready();
    std::vector<std::shared_ptr<Collector>> mates, collectors;
    for (int i = 0; i < (setting.has_mates ? 4 : 0); ++i)
      mates.push_back(cluster.submit(request_of(prompt_of(30 + 40 * i, 50 + i), 40)));
    for (const Pooling pooling : {Pooling::last, Pooling::mean}) {
      for (const int length : kLengths)
        collectors.push_back(cluster.submit(pooled_request(prompt_of(length), pooling)));
    }
    size_t next = 0;
    for (const Pooling pooling : {Pooling::last, Pooling::mean}) {
      for (const int length : kLengths) {
        const Collector& collector = *collectors[next++];
        collectors[next - 1]->wait();
        EXPECT_EQ(collector.finish(), FinishReason::stop);
        EXPECT_TRUE(collector.tokens(0).empty());
        EXPECT_TRUE(bytes_of(collector.pooled()) == expected.of(prompt_of(length), pooling))
            << "length " << length << ", pooling " << static_cast<int>(pooling) << ", tp " << setting.sizes.tp << " pp "
            << setting.sizes.pp << " dp " << setting.sizes.dp << ", chunks of " << setting.max_batch_tokens;
      }
    }
    for (const auto& mate : mates) mate->wait();
    cluster.expect_nothing_held();
  }
}

TEST(Pooling, APrefixCacheChangesNoBitAndAMeanRunsWhatItHolds) {
  Expected expected;
  LocalCluster cluster(small_options(), {.pp = 2});
  cluster.wait_until_ready();
  const std::vector<TokenId> prompt = prompt_of(100);
  const auto run = [&](Request request) {
    auto collector = cluster.submit(std::move(request));
    collector->wait();
    return collector;
  };
  const auto first = run(pooled_request(prompt, Pooling::mean));
  EXPECT_EQ(first->num_cached(), 0);
  const auto last = run(pooled_request(prompt, Pooling::last));
  EXPECT_EQ(last->num_cached(), 96) << "what a mean has run is in the cache";
  const auto mean = run(pooled_request(prompt, Pooling::mean));
  EXPECT_EQ(mean->num_cached(), 0) << "a mean needs every position";
  const auto tokens = run(request_of(prompt, 4));
  EXPECT_EQ(tokens->num_cached(), 96);
  EXPECT_TRUE(bytes_of(last->pooled()) == expected.last(prompt));
  EXPECT_TRUE(bytes_of(first->pooled()) == expected.mean(prompt));
  EXPECT_TRUE(bytes_of(mean->pooled()) == expected.mean(prompt));
  const std::vector<TokenId> whole_blocks = prompt_of(96);
  EXPECT_TRUE(bytes_of(run(pooled_request(whole_blocks, Pooling::last))->pooled()) == expected.last(whole_blocks))
      << "its last token is run though the cache holds its block";
}

/// Better ones that decode take the blocks of a prompt that is half run: it begins again, and so does its sum.
TEST(Pooling, PreemptionChangesNoBit) {
  Expected expected;
  for (const Pooling pooling : {Pooling::last, Pooling::mean}) {
    EngineOptions options = small_options();
    options.num_kv_blocks = 16;  // one sequence of 512 tokens
    options.max_batch_tokens = 8;
    LocalCluster cluster(options, {.pp = 2});
    cluster.wait_until_ready();
    std::vector<std::shared_ptr<Collector>> mates;
    for (int i = 0; i < 4; ++i) {
      mates.push_back(cluster.submit(request_of(prompt_of(20, 20 + i), 80)));
      mates.back()->wait_for_tokens(1);
    }
    Request request = pooled_request(prompt_of(300), pooling);
    request.priority = 1;
    const auto preempted = cluster.submit(std::move(request));
    for (const auto& mate : mates) mate->wait();
    preempted->wait();
    EXPECT_TRUE(bytes_of(preempted->pooled()) == expected.of(prompt_of(300), pooling));
    EXPECT_GT(cluster.engine().metrics().preemptions, 0u);
    cluster.expect_nothing_held();
  }
}

TEST(Pooling, RefusalsCancellationAndTimeouts) {
  LocalCluster cluster(small_options(), {});
  cluster.wait_until_ready();
  const auto refuses = [&](Request request, const char* param) {
    const auto handle = cluster.engine().submit(std::move(request), std::make_shared<Collector>(1));
    ASSERT_TRUE(handle.has_error()) << param;
    EXPECT_EQ(handle.error().http_status, 400);
    EXPECT_EQ(handle.error().param, param);
  };
  Request several = pooled_request(prompt_of(5), Pooling::last);
  several.num_choices = 2;
  refuses(several, "n");
  Request with_logprobs = pooled_request(prompt_of(5), Pooling::last);
  with_logprobs.sampling.num_prompt_logprobs = 0;
  refuses(with_logprobs, "pooling");
  Request with_grammar = pooled_request(prompt_of(5), Pooling::last);
  with_grammar.grammar = cluster.model()->grammars->get({GrammarKind::regex, "a+"});
  refuses(with_grammar, "pooling");
  refuses(pooled_request(prompt_of(513), Pooling::last), "prompt");
  refuses(pooled_request({}, Pooling::last), "prompt");
  refuses(pooled_request({-1}, Pooling::mean), "prompt");

  std::vector<std::shared_ptr<Collector>> left;
  for (int i = 0; i < 8; ++i) {
    left.push_back(cluster.submit(pooled_request(prompt_of(500, 70 + i), Pooling::mean)));
    cluster.engine().cancel(cluster.last_handle());
  }
  for (const auto& each : left) {
    each->wait();
    EXPECT_EQ(each->finish(), FinishReason::abort);
  }
  Request late = pooled_request(prompt_of(500, 90), Pooling::last);
  late.timeout = std::chrono::milliseconds(1);
  const auto timed_out = cluster.submit(std::move(late));
  timed_out->wait();
  EXPECT_EQ(timed_out->finish(), FinishReason::timeout);
  cluster.expect_nothing_held();
}

StepResult answer_of(const MicroBatch& batch, size_t width) {
  StepResult result{.epoch = batch.epoch, .number = batch.number, .rows = {}};
  for (const PlanRow& row : batch.rows) {
    EXPECT_FALSE(row.sample);
    if (!row.pool) continue;
    RowResult& answer = result.rows.emplace_back();
    answer.slot = row.slot;
    answer.generation = row.generation;
    answer.pooled.assign(width, 1.0f);
  }
  return result;
}

TEST(Pooling, VectorsOfOneResultFitIntoOneMessage) {
  constexpr size_t kWidth = kMaxPooledBytes / sizeof(float) / 3;
  Scheduler scheduler({.num_blocks = 100, .max_num_seqs = 8, .max_batch_tokens = 512, .hidden = kWidth});
  for (SequenceId id = 1; id <= 8; ++id) {
    Sequence s = sequence(id, 10, 50);
    s.pooling = id % 2 == 0 ? Pooling::mean : Pooling::last;
    add_one(scheduler, std::move(s));
  }
  std::vector<size_t> num_vectors;
  while (const auto batch = scheduler.next()) {
    const StepResult result = answer_of(*batch, kWidth);
    EXPECT_LE(encode(result).size(), size_t{16} << 20);
    num_vectors.push_back(result.rows.size());
    for (const SequenceUpdate& update : scheduler.commit(result)) {
      EXPECT_EQ(update.finish, FinishReason::stop);
      EXPECT_FALSE(update.token);
    }
    scheduler.check_integrity();
  }
  EXPECT_EQ(num_vectors, (std::vector<size_t>{3, 3, 2}));
  EXPECT_TRUE(scheduler.is_idle());
}

TEST(Pooling, VectorsOfAnotherWidthAreRefusedAndThoseWithoutNumbersAreErrors) {
  const auto commit = [](size_t width, float value, bool answers) {
    Scheduler scheduler({.num_blocks = 10, .max_num_seqs = 1, .max_batch_tokens = 64, .hidden = 4});
    Sequence s = sequence(1, 10, 50);
    s.pooling = Pooling::last;
    add_one(scheduler, std::move(s));
    StepResult result = answer_of(*scheduler.next(), width);
    result.rows.at(0).pooled.front() = value;
    if (!answers) result.rows.clear();
    return scheduler.commit(result);
  };
  EXPECT_EQ(commit(4, 1, true).at(0).finish, FinishReason::stop);
  EXPECT_EQ(commit(4, NAN, true).at(0).finish, FinishReason::error);
  EXPECT_EQ(commit(4, -INFINITY, true).at(0).finish, FinishReason::error);
  EXPECT_THROW(commit(3, 1, true), WireError);
  EXPECT_THROW(commit(5, 1, true), WireError);
  EXPECT_THROW(commit(4, 1, false), WireError);
}

TEST(Pooling, ASumThatLeavesOutAPositionIsRefused) {
  SingleRank rank(smollm2(), {.max_rows = 64, .num_blocks = 4});
  Pooler pooler(rank.model(), 2);
  rank.final_hidden(prompt_of(8));  // something for the pooler to take
  const auto take = [&](uint32_t generation, int first, int count) {
    return pooler.take({.slot = 1, .generation = generation, .first_position = first, .num_tokens = count, .sum = true},
                       0);
  };
  EXPECT_THROW(take(1, 3, 2), WireError) << "never begun";
  EXPECT_TRUE(take(1, 0, 3).empty());
  EXPECT_THROW(take(1, 4, 1), WireError) << "position 3 is left out";
  EXPECT_THROW(take(2, 3, 1), WireError) << "another sequence";
  EXPECT_TRUE(take(1, 3, 1).empty());
  EXPECT_TRUE(take(2, 0, 2).empty()) << "the next sequence begins";
}

}  // namespace
}  // namespace echelon
