// The command line of `simulate`, and what it prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "kernels/base/error.h"
#include "launch/plan_options.h"
#include "launch/simulate_report.h"

namespace echelon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SimulateOptions, TakesWhatPlanTakesAndItsOwn) {
  const SimulateOptions options = parse_simulate({"m", "-np", "8", "--device", "h200", "--requests", "2k", "-tp", "4",
                                                  "--sweep-rate", "0.5,10", "--sweep-rate", "20", "--svg", "a.svg"},
                                                 {})
                                      .options;
  EXPECT_EQ(options.plan.ranks, 8);
  EXPECT_EQ(options.plan.serve.tensor_parallel_size, 4);
  EXPECT_EQ(options.requests, 2000);
  EXPECT_THAT(options.rates, ElementsAre(0.5, 10, 20));
  EXPECT_THAT(parse_simulate({"m", "--sweep-concurrency", "1,8"}, {}).options.concurrencies, ElementsAre(1, 8));
  for (const std::vector<std::string>& bad :
       std::vector<std::vector<std::string>>{{"--requests", "0"},
                                             {"--sweep-rate", "0"},
                                             {"--sweep-rate", "1,,2"},
                                             {"--sweep-rate", "-1"},
                                             {"--sweep-concurrency", "0"},
                                             {"--sweep-rate", "1", "--sweep-concurrency", "1"}}) {
    std::vector<std::string> arguments{"m"};
    arguments.insert(arguments.end(), bad.begin(), bad.end());
    EXPECT_THROW(parse_simulate(arguments, {}), Error) << bad[0] << " " << bad[1];
  }
}

SimulateReport small_report() {
  SimulateReport report{.title = "m <1>", .device_source = "datasheet", .offered_name = "clients"};
  report.sizes = {.dp = 1, .tp = 2, .pp = 3};
  report.load = {.prompt_tokens = 100, .output_tokens = 28};
  report.num_requests = 7;
  report.rows = {{1, {.output_tokens_per_s = 50, .ttft_p50 = 0.25, .ttft_p99 = 0.5, .itl_p50 = 0.02, .tpot_p50 = 0.0305}},
                 {10, {.output_tokens_per_s = 300, .ttft_p50 = 1, .ttft_p99 = 2, .bubble_share = 0.125}}};
  return report;
}

TEST(SimulateReport, TextJsonAndPlotSayTheSame) {
  const SimulateReport report = small_report();
  const std::string text = simulate_text(report), svg = simulate_svg(report);
  EXPECT_THAT(text, HasSubstr("tp 2 x pp 3 x dp 1"));
  EXPECT_THAT(text, HasSubstr("250.0, 500.0"));
  EXPECT_THAT(text, HasSubstr("12.5 %"));
  EXPECT_THAT(text, HasSubstr(" 30.50 "));
  const auto json = boost::json::parse(simulate_json(report)).as_object();
  EXPECT_EQ(json.at("rows").as_array().size(), 2u);
  EXPECT_EQ(json.at("rows").as_array()[1].as_object().at("output_tokens_per_s").to_number<double>(), 300);
  EXPECT_EQ(json.at("layout").as_object().at("pp").to_number<int>(), 3);
  EXPECT_THAT(svg, HasSubstr("m &lt;1&gt;")) << "names are text";
  // The larger of two rates lies at the upper right corner of the axes, the smaller at a tenth and a sixth of them.
  EXPECT_THAT(svg, HasSubstr("<polyline points='83.6,162.7 332.0,56.0 '"));
}

}  // namespace
}  // namespace echelon
