// One rank that runs micro-batches of a real model without an engine around it: for tests of the numbers.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/model/open_model.h"
#include "engine/model/stage_model.h"
#include "engine/stage/stage.h"
#include "kernels/base/limits.h"
#include "parallel/local/local_group.h"

namespace echelon {

/// A model file that launch/fetch-model brings; a test fails with its command when it is not there.
inline std::string model_file(const std::string& name) {
  const char* folder = std::getenv("ECHELON_MODELS");
  const char* home = std::getenv("HOME");
  const std::string path =
      (folder ? std::string(folder) : std::string(home ? home : "") + "/.cache/echelon/models") + "/" + name;
  if (!std::filesystem::exists(path)) {
    throw std::runtime_error(path + " is missing: run launch/fetch-model " + (name[0] == 'S' ? "smollm2" : "gemma3"));
  }
  return path;
}
inline std::string smollm2() { return model_file("SmolLM2-135M-Instruct.Q4_1.gguf"); }
inline std::string gemma3() { return model_file("gemma-3-270m-q4_k_m.gguf"); }

struct SingleRankOptions {
  Compute compute = Compute::int8;
  std::optional<KvType> kv_type = {};  ///< empty: the default of `compute`
  CpuIsa isa = best_cpu_isa();
  int num_threads = 1;
  int max_rows = 512;
  int num_blocks = 128;
};

class SingleRank {
 public:
  SingleRank(const std::string& model, const SingleRankOptions& options)
      : open_(open_model(model)),
        backend_(
            make_cpu_backend({.compute = options.compute, .num_threads = options.num_threads, .isa = options.isa})),
        group_(make_group_of_one()),
        max_rows_(options.max_rows) {
    const ModelSpec& spec = open_.files.spec;
    const Shard shard = make_shard(spec, {}, {}, {spec.num_layers});
    const int64_t length = int64_t{options.num_blocks} * kBlockTokens;
    model_ = std::make_unique<StageModel>(
        spec, shard, load_stage_weights(open_.files, shard, *backend_, nullptr), *backend_, *group_,
        StageModelOptions{.max_rows = options.max_rows,
                          .max_model_len = length,
                          .num_blocks = options.num_blocks,
                          .kv_type = options.kv_type.value_or(default_kv_type(options.compute))},
        open_.rope_factors);
    const SlotLimits limits{.num_slots = 1,
                            .num_blocks = options.num_blocks,
                            .vocab = spec.vocab,
                            .max_rows = options.max_rows,
                            .max_model_len = length};
    stage_ =
        std::make_unique<Stage>(*model_, limits, Neighbours{}, true, true, spec.vocab, std::vector<TokenId>(), clock_);
  }

  const OpenModel& open() const { return open_; }

  struct Output {
    std::vector<TokenLogprob> prompt;  ///< for ids[1..], with the most likely token at each position
    std::vector<OutputToken> tokens;   ///< greedy
  };

  StageModel& model() { return *model_; }

  /// What the LM head takes at every position of a prompt that runs whole: at most max_rows ids.
  std::vector<std::vector<float>> final_hidden(const std::vector<TokenId>& ids) {
    const int num_tokens = static_cast<int>(ids.size());
    std::vector<int32_t> blocks;
    for (int32_t block = 0; block * kBlockTokens < num_tokens; ++block) blocks.push_back(block);
    const std::vector<Segment> segments{{.num_rows = num_tokens, .blocks = blocks}};
    const BatchView batch{.tokens = ids, .segments = segments};
    model_->embed(batch);
    model_->run_layers(batch);
    std::vector<std::vector<float>> hidden;
    for (int row = 0; row < num_tokens; ++row) {
      const std::span<const float> one = model_->final_hidden(std::span(&row, 1));
      hidden.emplace_back(one.begin(), one.end());
    }
    return hidden;
  }

  /// The prompt in chunks of max_rows, then num_tokens greedy ones, each with its most likely token; between() after each
  /// micro-batch.
  Output run(const std::vector<TokenId>& ids, int num_tokens, const std::function<void()>& between = {}) {
    Output output;
    SamplingParams sampling{.temperature = 0, .num_logprobs = 1, .num_prompt_logprobs = 1};
    std::vector<TokenId> tokens = ids;
    int done = 0, blocks = 0;
    while (static_cast<int>(output.tokens.size()) < num_tokens) {
      MicroBatch batch;
      batch.number = ++number_;
      if (done == 0)
        batch.registrations.push_back(
            {.slot = 0, .generation = ++generation_, .num_prompt = static_cast<int>(ids.size()), .sampling = sampling});
      PlanRow row{.slot = 0, .generation = generation_, .first_position = done};
      row.num_tokens = std::min(max_rows_, static_cast<int>(tokens.size()) - done);
      row.sample = done + row.num_tokens == static_cast<int>(tokens.size());
      for (; blocks * kBlockTokens < done + row.num_tokens; ++blocks, ++row.num_new_blocks)
        batch.new_blocks.push_back(blocks);
      for (int i = done; i < done + row.num_tokens; ++i) {
        batch.tokens.push_back(tokens[i]);
        if (i + 1 < static_cast<int>(ids.size())) {
          batch.targets.push_back(ids[i + 1]);
          ++row.num_targets;
        }
      }
      batch.rows.push_back(row);
      const StepResult result = *stage_->run(batch);
      if (between) between();
      done += row.num_tokens;
      for (const RowResult& answer : result.rows) {
        output.prompt.insert(output.prompt.end(), answer.prompt_logprobs.begin(), answer.prompt_logprobs.end());
        if (!answer.sampled) continue;
        output.tokens.push_back(answer.token);
        tokens.push_back(answer.token.token);
      }
    }
    return output;
  }

 private:
  OpenModel open_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Communicator> group_;
  std::unique_ptr<StageModel> model_;
  StageClock clock_;
  std::unique_ptr<Stage> stage_;
  int max_rows_ = 0;
  uint64_t number_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace echelon
