// `echelon bench`: figures against arithmetic, what is read of a stream, what is sent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <numeric>

#include "kernels/base/error.h"
#include "launch/bench/load.h"
#include "launch/bench_options.h"

namespace echelon {
namespace {

namespace json = boost::json;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BenchFigures, PercentilesAreNumpys) {
  std::vector<double> values(11);
  std::iota(values.rbegin(), values.rend(), 0.0);
  const Spread spread = spread_of(values);
  EXPECT_DOUBLE_EQ(spread.mean, 5);
  EXPECT_DOUBLE_EQ(spread.p50, 5);
  EXPECT_DOUBLE_EQ(spread.p90, 9);
  EXPECT_DOUBLE_EQ(spread.p99, 9.9);
  EXPECT_DOUBLE_EQ(spread.deviation, std::sqrt(10));
  EXPECT_DOUBLE_EQ(spread_of({1, 2}).p50, 1.5);
  EXPECT_EQ(spread_of({}).p99, 0);
  EXPECT_EQ(spread_of({7}).p90, 7);
}

BenchRow row_of_three() {
  return {
      .offered = 2,
      .seconds = 4,
      .samples = {{.ttft_s = 0.5, .latency_s = 1.5, .itls_s = {0.25, 0.75}, .prompt_tokens = 10, .output_tokens = 3},
                  {.ttft_s = 1.0, .latency_s = 1.0, .itls_s = {}, .prompt_tokens = 10, .output_tokens = 1},
                  {.error = "status 500"}}};
}

TEST(BenchFigures, OfARow) {
  const BenchFigures figures = figures_of(row_of_three(), {});
  EXPECT_EQ(figures.completed, 2);
  EXPECT_EQ(figures.failed, 1);
  EXPECT_DOUBLE_EQ(figures.requests_per_s, 0.5);
  EXPECT_DOUBLE_EQ(figures.output_tokens_per_s, 1);
  EXPECT_DOUBLE_EQ(figures.tokens_per_s, 6);
  EXPECT_DOUBLE_EQ(figures.ttft_s.mean, 0.75);
  EXPECT_DOUBLE_EQ(figures.tpot_s.p50, 0.5) << "of answers of more than one token";
  EXPECT_DOUBLE_EQ(figures.itl_s.mean, 0.5);
  EXPECT_FALSE(figures.good_per_s.has_value());
  EXPECT_DOUBLE_EQ(*figures_of(row_of_three(), {.ttft_s = 0.5}).good_per_s, 0.25);
  EXPECT_DOUBLE_EQ(*figures_of(row_of_three(), {.tpot_s = 0.4}).good_per_s, 0.25);
  EXPECT_DOUBLE_EQ(*figures_of(row_of_three(), {.ttft_s = 0.9, .tpot_s = 0.4}).good_per_s, 0);
  EXPECT_EQ(figures_of({}, {}).requests_per_s, 0);
}

TEST(BenchReport, JsonHasVllmsNames) {
  BenchReport report{.model = "m", .url = "u", .offered_name = "clients", .goals = {.ttft_s = 1.0}};
  report.rows = {row_of_three()};
  const json::value one = json::parse(bench_json(report));
  for (const char* name :
       {"model_id", "num_prompts", "request_rate", "max_concurrency", "duration", "completed", "total_input_tokens",
        "total_output_tokens", "request_throughput", "request_goodput", "output_throughput", "total_token_throughput",
        "mean_ttft_ms", "median_tpot_ms", "std_itl_ms", "p99_e2el_ms"})
    EXPECT_TRUE(one.as_object().contains(name)) << name;
  EXPECT_EQ(one.at("median_ttft_ms"), 750.0);
  EXPECT_EQ(one.at("max_concurrency"), 2);
  report.rows.push_back(row_of_three());
  report.offered_name = "requests/s";
  const json::value both = json::parse(bench_json(report));
  EXPECT_EQ(both.as_array().size(), 2u);
  EXPECT_EQ(both.at(0).at("request_rate"), 2.0);
  EXPECT_TRUE(both.at(0).at("max_concurrency").is_null());
  EXPECT_THAT(bench_svg(report), HasSubstr("polyline"));
  EXPECT_THAT(bench_head(report) + bench_line(report, report.rows[0]), HasSubstr("good/s"));
}

TEST(SampleReader, TimesAndCountsAreThoseOfTheStream) {
  SampleReader reader;
  reader.take(R"({"choices":[{"text":""}]})", 0.1);
  reader.take(R"({"choices":[{"text":"a"}],"usage":null})", 0.25);
  reader.take(R"({"choices":[{"text":"b"}]})", 0.5);
  reader.take(R"({"choices":[{"text":"","finish_reason":"length"}]})", 0.75);
  reader.take(R"({"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}})", 0.75);
  reader.take("[DONE]", 0.8);
  EXPECT_EQ(reader.sample.ttft_s, 0.25);
  EXPECT_THAT(reader.sample.itls_s, ElementsAre(0.25));
  EXPECT_EQ(reader.sample.prompt_tokens, 7);
  EXPECT_EQ(reader.sample.output_tokens, 3);
  EXPECT_EQ(reader.sample.error, "");
  for (const char* bad : {"", "[]", "{", R"({"error":{"message":"x"}})"}) {
    SampleReader other;
    other.take(bad, 1);
    EXPECT_NE(other.sample.error, "") << bad;
  }
}

TEST(BenchLoad, PromptsAreDrawnAndNoTwoAlike) {
  BenchLoad load{.model = "m", .prompt_tokens = 6, .output_tokens = 5, .seed = 1};
  const json::value body = json::parse(completion_body(load, 0));
  EXPECT_EQ(body.at("prompt").as_array().size(), 6u);
  EXPECT_EQ(body.at("max_tokens"), 5);
  EXPECT_EQ(completion_body(load, 0), completion_body(load, 0));
  EXPECT_NE(json::parse(completion_body(load, 1)).at("prompt"), body.at("prompt"));
  load.seed = 2;
  EXPECT_NE(json::parse(completion_body(load, 0)).at("prompt"), body.at("prompt"));
}

TEST(BenchOptions, OneKindOfLoad) {
  const BenchOptions options = parse_bench({"localhost:81", "--sweep-rate", "0.5,2", "--prompt", "1k"}, {}).options;
  EXPECT_THAT(options.rates, ElementsAre(0.5, 2.0));
  EXPECT_EQ(options.prompt_tokens, 1000);
  EXPECT_THROW(parse_bench({"u", "--sweep-rate", "1", "--sweep-concurrency", "1"}, {}), Error);
  EXPECT_THROW(parse_bench({"u", "--requests", "0"}, {}), Error);
  EXPECT_THAT(bench_help(), HasSubstr("--goal-ttft-ms"));
}

}  // namespace
}  // namespace echelon
