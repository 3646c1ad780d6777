#include "launch/simulate_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <functional>

namespace echelon {
namespace {

constexpr double kWidth = 360, kHeight = 240, kMargin = 56;

struct Line {
  const char* name;
  const char* colour;
  std::function<double(const Simulated&)> value;
};

/// Text for XML.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

/// One plot, its upper left corner at (left, 0). Both axes begin at 0.
std::string plot(const SimulateReport& report, double left, const std::string& title, const std::vector<Line>& lines) {
  double most_x = 0, most_y = 0;
  for (const SimulateRow& row : report.rows) {
    most_x = std::max(most_x, row.offered);
    for (const Line& line : lines) most_y = std::max(most_y, line.value(row.result));
  }
  const auto x_of = [&](double x) { return left + kMargin + (most_x > 0 ? x / most_x : 0) * (kWidth - 1.5 * kMargin); };
  const auto y_of = [&](double y) {
    return kHeight - kMargin - (most_y > 0 ? y / most_y : 0) * (kHeight - 2 * kMargin);
  };
  std::string out = fmt::format(
      "<text x='{:.0f}' y='20' font-weight='bold'>{}</text>\n"
      "<path d='M{:.1f} {:.1f}V{:.1f}H{:.1f}' fill='none' stroke='black'/>\n"
      "<text x='{:.1f}' y='{:.1f}' text-anchor='end'>{:.4g}</text>\n<text x='{:.1f}' y='{:.1f}' "
      "text-anchor='middle'>{:.4g}</text>\n<text x='{:.1f}' y='{:.1f}' text-anchor='middle'>{}</text>\n",
      left + 8, escaped(title), x_of(0), y_of(most_y), y_of(0), x_of(most_x), x_of(0) - 4, y_of(most_y) + 4, most_y,
      x_of(most_x), y_of(0) + 16, most_x, x_of(most_x / 2), y_of(0) + 32, escaped(report.offered_name));
  double legend = 36;
  for (const Line& line : lines) {
    std::string points;
    for (const SimulateRow& row : report.rows)
      points += fmt::format("{:.1f},{:.1f} ", x_of(row.offered), y_of(line.value(row.result)));
    out += fmt::format(
        "<polyline points='{}' fill='none' stroke='{}' stroke-width='2'/>\n<text x='{:.0f}' y='{:.0f}' "
        "fill='{}'>{}</text>\n",
        points, line.colour, left + kWidth - kMargin, legend, line.colour, line.name);
    legend += 14;
  }
  return out;
}

}  // namespace

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
  const auto ms = [](double Simulated::*member) { return [member](const Simulated& s) { return 1e3 * (s.*member); }; };
  std::string out = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='{0:.0f}' height='{1:.0f}' font-family='sans-serif' "
      "font-size='11'>\n<title>{2}</title>\n<rect width='{0:.0f}' height='{1:.0f}' fill='white'/>\n",
      3 * kWidth, kHeight, escaped(report.title));
  out +=
      plot(report, 0, "output tokens/s", {{"", "#1f5fa8", [](const Simulated& s) { return s.output_tokens_per_s; }}});
  out += plot(report, kWidth, "TTFT, ms",
              {{"p50", "#1f5fa8", ms(&Simulated::ttft_p50)}, {"p99", "#b03a2e", ms(&Simulated::ttft_p99)}});
  out += plot(report, 2 * kWidth, "ITL, ms",
              {{"p50", "#1f5fa8", ms(&Simulated::itl_p50)}, {"p99", "#b03a2e", ms(&Simulated::itl_p99)}});
  return out + "</svg>\n";
}

}  // namespace echelon
