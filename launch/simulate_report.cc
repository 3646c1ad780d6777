#include "launch/simulate_report.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "launch/svg_plot.h"

namespace echelon {

std::string simulate_text(const SimulateReport& report) {
  std::string out = fmt::format(
      "{}, tp {} x pp {} x dp {}\n{} requests of {} tokens in, {} out a row; the scheduler of serve, times of the cost "
      "model: at best\n{}\n\n"
      "{:>12} {:>14} {:>14} {:>20} {:>12} {:>20} {:>8} {:>11}\n",
      report.title, report.sizes.tp, report.sizes.pp, report.sizes.dp, report.num_requests, report.load.prompt_tokens,
      report.load.output_tokens, report.device_source, report.offered_name, "output tok/s", "prompt tok/s",
      "TTFT p50, p99 ms", "TPOT p50 ms", "ITL p50, p99 ms", "bubbles", "preemptions");
  for (const auto& [offered, result] : report.rows) {
    out += fmt::format("{:>12.4g} {:>14.1f} {:>14.1f} {:>20} {:>12.2f} {:>20} {:>6.1f} % {:>11}\n", offered,
                       result.output_tokens_per_s, result.prompt_tokens_per_s,
                       fmt::format("{:.1f}, {:.1f}", 1e3 * result.ttft_p50, 1e3 * result.ttft_p99),
                       1e3 * result.tpot_p50, fmt::format("{:.2f}, {:.2f}", 1e3 * result.itl_p50, 1e3 * result.itl_p99),
                       100 * result.bubble_share, result.num_preemptions);
  }
  return out;
}

std::string simulate_json(const SimulateReport& report) {
  namespace json = boost::json;
  json::array rows;
  for (const auto& [offered, result] : report.rows) {
    rows.push_back(json::object{{"offered", offered},
                                {"seconds", result.seconds},
                                {"output_tokens_per_s", result.output_tokens_per_s},
                                {"prompt_tokens_per_s", result.prompt_tokens_per_s},
                                {"ttft_p50_s", result.ttft_p50},
                                {"ttft_p99_s", result.ttft_p99},
                                {"tpot_p50_s", result.tpot_p50},
                                {"itl_p50_s", result.itl_p50},
                                {"itl_p99_s", result.itl_p99},
                                {"bubble_share", result.bubble_share},
                                {"micro_batches", result.num_micro_batches},
                                {"preemptions", result.num_preemptions}});
  }
  const json::object layout{{"tp", report.sizes.tp}, {"pp", report.sizes.pp}, {"dp", report.sizes.dp}};
  return json::serialize(json::object{{"title", report.title},
                                      {"device_source", report.device_source},
                                      {"layout", layout},
                                      {"offered", report.offered_name},
                                      {"requests", report.num_requests},
                                      {"prompt_tokens", report.load.prompt_tokens},
                                      {"output_tokens", report.load.output_tokens},
                                      {"rows", rows}}) +
         "\n";
}

std::string simulate_svg(const SimulateReport& report) {
  const auto line = [&](const char* name, double Simulated::*member, double scale) {
    PlotLine result{.name = name, .points = {}};
    for (const auto& [offered, of] : report.rows) result.points.emplace_back(offered, scale * (of.*member));
    return result;
  };
  return svg_plots(
      report.title, report.offered_name,
      {{.title = "output tokens/s", .lines = {line("", &Simulated::output_tokens_per_s, 1)}},
       {.title = "TTFT, ms", .lines = {line("p50", &Simulated::ttft_p50, 1e3), line("p99", &Simulated::ttft_p99, 1e3)}},
       {.title = "ITL, ms", .lines = {line("p50", &Simulated::itl_p50, 1e3), line("p99", &Simulated::itl_p99, 1e3)}}});
}

}  // namespace echelon
