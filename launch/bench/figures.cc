#include "launch/bench/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <numeric>

#include "launch/svg_plot.h"

namespace echelon {
namespace {

namespace json = boost::json;

void put(json::object& out, const std::string& name, const Spread& seconds) {
  out["mean_" + name + "_ms"] = 1e3 * seconds.mean;
  out["median_" + name + "_ms"] = 1e3 * seconds.p50;
  out["std_" + name + "_ms"] = 1e3 * seconds.deviation;
  out["p90_" + name + "_ms"] = 1e3 * seconds.p90;
  out["p99_" + name + "_ms"] = 1e3 * seconds.p99;
}

json::object json_of(const BenchReport& report, const BenchRow& row) {
  const BenchFigures figures = figures_of(row, report.goals);
  const bool is_rate = report.offered_name != "clients";
  json::object out{{"backend", "echelon bench"}, {"base_url", report.url}, {"model_id", report.model}};
  out["num_prompts"] = row.samples.size();
  out["request_rate"] = is_rate ? json::value(row.offered) : json::value("inf");
  out["burstiness"] = 1.0;
  out["max_concurrency"] = is_rate ? json::value() : json::value(static_cast<int64_t>(row.offered));
  out["duration"] = row.seconds;
  out["completed"] = figures.completed;
  out["failed"] = figures.failed;
  out["total_input_tokens"] = figures.prompt_tokens;
  out["total_output_tokens"] = figures.output_tokens;
  out["request_throughput"] = figures.requests_per_s;
  out["request_goodput"] = figures.good_per_s ? json::value(*figures.good_per_s) : json::value();
  out["output_throughput"] = figures.output_tokens_per_s;
  out["total_token_throughput"] = figures.tokens_per_s;
  put(out, "ttft", figures.ttft_s);
  put(out, "tpot", figures.tpot_s);
  put(out, "itl", figures.itl_s);
  put(out, "e2el", figures.latency_s);
  return out;
}

std::string two(const Spread& seconds) { return fmt::format("{:.1f}, {:.1f}", 1e3 * seconds.p50, 1e3 * seconds.p99); }

}  // namespace

Spread spread_of(std::vector<double> values) {
  Spread spread;
  if (values.empty()) return spread;
  std::sort(values.begin(), values.end());
  const auto size = static_cast<double>(values.size());
  spread.mean = std::accumulate(values.begin(), values.end(), 0.0) / size;
  double squares = 0;
  for (const double value : values) squares += (value - spread.mean) * (value - spread.mean);
  spread.deviation = std::sqrt(squares / size);
  const auto at = [&](double share) {
    const double place = share * (size - 1);
    const auto below = static_cast<size_t>(place), above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
  };
  spread.p50 = at(0.5);
  spread.p90 = at(0.9);
  spread.p99 = at(0.99);
  return spread;
}

BenchFigures figures_of(const BenchRow& row, const Goals& goals) {
  BenchFigures figures;
  std::vector<double> ttfts, tpots, itls, latencies;
  int64_t good = 0;
  for (const RequestSample& sample : row.samples) {
    if (!sample.error.empty()) {
      ++figures.failed;
      continue;
    }
    ++figures.completed;
    figures.prompt_tokens += sample.prompt_tokens;
    figures.output_tokens += sample.output_tokens;
    ttfts.push_back(sample.ttft_s);
    latencies.push_back(sample.latency_s);
    if (sample.output_tokens > 1) tpots.push_back(sample.tpot_s());
    itls.insert(itls.end(), sample.itls_s.begin(), sample.itls_s.end());
    good += (!goals.ttft_s || sample.ttft_s <= *goals.ttft_s) && (!goals.tpot_s || sample.tpot_s() <= *goals.tpot_s);
  }
  const auto per_second = [&](int64_t count) { return row.seconds > 0 ? static_cast<double>(count) / row.seconds : 0; };
  figures.requests_per_s = per_second(figures.completed);
  figures.output_tokens_per_s = per_second(figures.output_tokens);
  figures.tokens_per_s = per_second(figures.prompt_tokens + figures.output_tokens);
  if (goals.any()) figures.good_per_s = per_second(good);
  figures.ttft_s = spread_of(std::move(ttfts));
  figures.tpot_s = spread_of(std::move(tpots));
  figures.itl_s = spread_of(std::move(itls));
  figures.latency_s = spread_of(std::move(latencies));
  return figures;
}

std::string bench_head(const BenchReport& report) {
  std::string out = fmt::format(
      "{} at {}: {} requests a row, {} tokens in, {} out\n\n{:>12} {:>14} {:>14} {:>20} {:>12} {:>20} {:>12}",
      report.model, report.url, report.num_requests, report.prompt_tokens, report.output_tokens, report.offered_name,
      "output tok/s", "prompt tok/s", "TTFT p50, p99 ms", "TPOT p50 ms", "ITL p50, p99 ms", "requests/s");
  if (report.goals.any()) out += fmt::format(" {:>8}", "good/s");
  return out + fmt::format(" {:>7}\n", "failed");
}

std::string bench_line(const BenchReport& report, const BenchRow& row) {
  const BenchFigures figures = figures_of(row, report.goals);
  std::string out =
      fmt::format("{:>12.4g} {:>14.1f} {:>14.1f} {:>20} {:>12.2f} {:>20} {:>12.2f}", row.offered,
                  figures.output_tokens_per_s, figures.tokens_per_s - figures.output_tokens_per_s, two(figures.ttft_s),
                  1e3 * figures.tpot_s.p50, two(figures.itl_s), figures.requests_per_s);
  if (figures.good_per_s) out += fmt::format(" {:>8.2f}", *figures.good_per_s);
  return out + fmt::format(" {:>7}\n", figures.failed);
}

std::string bench_json(const BenchReport& report) {
  if (report.rows.size() == 1) return json::serialize(json_of(report, report.rows.front())) + "\n";
  json::array rows;
  for (const BenchRow& row : report.rows) rows.push_back(json_of(report, row));
  return json::serialize(rows) + "\n";
}

std::string bench_svg(const BenchReport& report) {
  PlotLine output, ttft50{.name = "p50", .points = {}}, ttft99{.name = "p99", .points = {}}, itl50 = ttft50,
                                                                                             itl99 = ttft99;
  for (const BenchRow& row : report.rows) {
    const BenchFigures figures = figures_of(row, report.goals);
    output.points.emplace_back(row.offered, figures.output_tokens_per_s);
    ttft50.points.emplace_back(row.offered, 1e3 * figures.ttft_s.p50);
    ttft99.points.emplace_back(row.offered, 1e3 * figures.ttft_s.p99);
    itl50.points.emplace_back(row.offered, 1e3 * figures.itl_s.p50);
    itl99.points.emplace_back(row.offered, 1e3 * figures.itl_s.p99);
  }
  return svg_plots(report.model, report.offered_name,
                   {{.title = "output tokens/s", .lines = {output}},
                    {.title = "TTFT, ms", .lines = {ttft50, ttft99}},
                    {.title = "ITL, ms", .lines = {itl50, itl99}}});
}

}  // namespace echelon
