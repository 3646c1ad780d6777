// The command line of `plan`, and what it prints: every option of serve and its own, the lines that start a layout, the
// cost, and JSON that says what the text says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "kernels/base/error.h"
#include "launch/plan_options.h"
#include "launch/plan_report.h"

namespace echelon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string error_of(const std::vector<std::string>& arguments) {
  try {
    parse_plan(arguments, {});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(PlanOptions, TakesWhatServeTakesAndItsOwn) {
  const PlanOptions options = parse_plan({"m", "-np", "16", "--memory", "80G", "--device", "h100", "-tp=8", "--prompt",
                                          "2K", "--cost-per-gpu-hour", "2.49", "--memory-bandwidth", "3.35t", "--json",
                                          "--kv-cache-dtype", "int8", "--port", "1"},
                                         {{"ECHELON_OUTPUT", "256"}, {"ECHELON_MAX_NUM_SEQS", "9"}})
                                  .options;
  EXPECT_EQ(options.ranks, 16);
  EXPECT_EQ(options.memory, int64_t{80} << 30);
  EXPECT_EQ(options.device, "h100");
  EXPECT_EQ(options.serve.tensor_parallel_size, 8);
  EXPECT_EQ(options.prompt, 2048);
  EXPECT_EQ(options.output, 256);
  EXPECT_DOUBLE_EQ(options.cost_per_gpu_hour, 2.49);
  EXPECT_EQ(options.memory_bandwidth, 3'350'000'000'000);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(options.serve.kv_cache_dtype, "int8");
  EXPECT_EQ(options.serve.max_num_seqs, 9);
}

TEST(PlanOptions, MistakesAreNamedAsServeNamesThem) {
  EXPECT_THAT(error_of({}), HasSubstr("MODEL is missing: echelon plan MODEL"));
  EXPECT_THAT(error_of({"m", "--device", "h1000"}),
              HasSubstr("--device: 'h1000' is none of cpu, a100, h100, h200, b200"));
  EXPECT_THAT(error_of({"m", "--rank", "2"}), HasSubstr("did you mean --ranks?"));
  EXPECT_THAT(error_of({"m", "--prompt", "0"}), HasSubstr("--prompt: '0' is out of range: 1 to"));
  for (const std::string price : {"", "free", "-1", "1e3", "nan", "inf", "1.5x", "99999999"})
    EXPECT_THAT(error_of({"m", "--cost-per-gpu-hour=" + price}), HasSubstr("--cost-per-gpu-hour")) << price;
  EXPECT_THAT(plan_help(), HasSubstr("--cost-per-gpu-hour PRICE"));
}

TEST(PlanOptions, ServeGetsItsFlagsBack) {
  EXPECT_THAT(serve_flags(parse_plan({"m"}, {})), IsEmpty());
  const auto flags = serve_flags(
      parse_plan({"m", "-tp", "2", "--prompt", "5", "--api-key", "secret", "--max-model-len", "1K", "--no-prefix-cache",
                  "--pipeline-layer-partition", "19,11", "--chat-template", "my 'own'.jinja", "--compute", "bf16"},
                 {{"ECHELON_THREADS", "3"}}));
  EXPECT_THAT(
      flags, ElementsAre("--pipeline-layer-partition", "19,11", "--max-model-len", "1024", "--no-enable-prefix-caching",
                         "--compute", "bf16", "--threads", "3", "--chat-template", "'my '\\''own'\\''.jinja'"));
}

/// Six ranks on two hosts; the best layout makes 1,000 tokens a second.
PlanReport small_report() {
  PlanReport report{.model = "m.gguf", .family = "llama"};
  report.device = *find_device("h100");
  report.hosts = {.host_of_rank = {0, 0, 0, 1, 1, 1}, .rank_bytes = std::vector<uint64_t>(6, uint64_t{1} << 30)};
  report.load = {.prompt_tokens = 100, .output_tokens = 28, .concurrency = 10};
  report.max_num_seqs = 64;
  report.cost_per_rank_hour = 3;
  report.serve_flags = {"--compute", "bf16"};
  LayoutPlan best;
  best.capacity = {.sizes = {.dp = 1, .tp = 3, .pp = 2}, .layers = {5, 4}, .num_blocks = 77};
  best.capacity.ranks.push_back({.rank = 0,
                                 .memory = {.weights = 100, .activations = 200, .kv_block = 3},
                                 .kv_cache = 231,
                                 .communication = 9,
                                 .blocks_that_fit = 77,
                                 .rank_bytes = 1000});
  best.max_batch = 19;
  best.full_load = {.concurrency = 10, .ttft = 0.5, .tpot = 0.01, .output_tokens_per_s = 1000};
  LayoutPlan refused;
  refused.capacity = {.sizes = {.dp = 6, .tp = 1, .pp = 1}, .refusal = "rank 0 needs more"};
  report.layouts = {best, refused};
  report.served_by_default = {.dp = 1, .tp = 3, .pp = 2};
  return report;
}

TEST(PlanReport, TextHasTheTableTheRankAndTheLines) {
  const std::string text = plan_text(small_report());
  EXPECT_THAT(text, HasSubstr("m.gguf (llama) on 6 ranks of h100"));
  EXPECT_THAT(text, HasSubstr("does not fit: rank 0 needs more"));
  EXPECT_THAT(text, HasSubstr("tp 3 x pp 2 x dp 1, layers 5,4"));
  EXPECT_THAT(text, HasSubstr("2464 tokens in 77 blocks of 32"));
  EXPECT_THAT(text, HasSubstr("19 sequences of 128 tokens; --max-num-seqs allows 64"));
  // 6 ranks x 3 an hour / (1,000 tokens/s x 3,600 s) x a million
  EXPECT_THAT(text, HasSubstr("5 for a million output tokens"));
  EXPECT_THAT(text, HasSubstr("launch/run -np 6 --hostfile HOSTS -- serve m.gguf -tp 3 -pp 2 -dp 1 --compute bf16\n"));
  EXPECT_THAT(text, HasSubstr("srun --mpi=pmix --ntasks=6 --ntasks-per-node=3 "));
  EXPECT_THAT(text, HasSubstr("datasheet"));
}

TEST(PlanReport, NothingFits) {
  PlanReport report = small_report();
  report.layouts.erase(report.layouts.begin());
  EXPECT_THAT(plan_text(report), HasSubstr("nothing fits"));
  EXPECT_THAT(plan_text(report), Not(HasSubstr("launch/run")));
  const auto json = boost::json::parse(plan_json(report)).as_object();
  EXPECT_FALSE(json.contains("start"));
  EXPECT_EQ(json.at("layouts").at(0).at("refusal").as_string(), "rank 0 needs more");
}

TEST(PlanReport, JsonSaysTheSame) {
  const PlanReport report = small_report();
  const boost::json::value json = boost::json::parse(plan_json(report));
  const boost::json::value& best = json.at("layouts").at(0);
  EXPECT_EQ(best.at("tp").to_number<int>(), 3);
  EXPECT_TRUE(best.at("fits").as_bool());
  EXPECT_EQ(best.at("kv_tokens").to_number<int>(), 2464);
  EXPECT_EQ(best.at("largest_batch").to_number<int>(), 19);
  EXPECT_EQ(best.at("ranks").at(0).at("reserve_bytes").to_number<int>(), 1000 - 540);
  EXPECT_DOUBLE_EQ(best.at("full_load").at("tpot_s").as_double(), 0.01);
  EXPECT_FALSE(json.at("layouts").at(1).at("fits").as_bool());
  EXPECT_DOUBLE_EQ(json.at("cost_per_million_output_tokens").as_double(), 5);
  EXPECT_EQ(json.at("start").at("run").as_string(), start_lines(report).run);
  EXPECT_EQ(json.at("served_by_default").at("pp").to_number<int>(), 2);
}

}  // namespace
}  // namespace echelon
