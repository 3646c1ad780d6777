// What a load on a server came to: figures of requests, and how they are written. Pure. Names and meanings of the JSON
// are those of vLLM's `bench serve`.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace echelon {

/// One request, times in seconds.
struct RequestSample {
  double ttft_s = 0;           ///< from its beginning to its first token
  double latency_s = 0;        ///< to its last
  std::vector<double> itls_s;  ///< between tokens that came one after the other
  int64_t prompt_tokens = 0, output_tokens = 0;
  std::string error;  ///< not empty: it failed, and the rest says nothing
  /// Per output token behind the first.
  double tpot_s() const {
    return output_tokens > 1 ? (latency_s - ttft_s) / static_cast<double>(output_tokens - 1) : 0;
  }
};

/// What a user would call a good answer. Absent: nothing is asked.
struct Goals {
  std::optional<double> ttft_s, tpot_s;
  bool any() const { return ttft_s || tpot_s; }
};

struct Spread {
  double mean = 0, deviation = 0, p50 = 0, p90 = 0, p99 = 0;
};
/// Percentiles are interpolated, as numpy's.
Spread spread_of(std::vector<double> values);

struct BenchRow {
  double offered = 0;  ///< clients, or requests a second
  double seconds = 0;
  std::vector<RequestSample> samples;
};

struct BenchFigures {
  int64_t completed = 0, failed = 0, prompt_tokens = 0, output_tokens = 0;
  double requests_per_s = 0, output_tokens_per_s = 0, tokens_per_s = 0;
  std::optional<double> good_per_s;  ///< requests that meet the goals
  Spread ttft_s, tpot_s, itl_s, latency_s;
};
BenchFigures figures_of(const BenchRow& row, const Goals& goals);

struct BenchReport {
  std::string model, url;
  std::string offered_name;  ///< "clients" or "requests/s"
  int prompt_tokens = 0, output_tokens = 0, num_requests = 0;
  Goals goals;
  std::vector<BenchRow> rows;
};

std::string bench_head(const BenchReport& report);
std::string bench_line(const BenchReport& report, const BenchRow& row);
/// An object for one row, an array of them for several.
std::string bench_json(const BenchReport& report);
/// Output tokens a second, TTFT and ITL over what was offered.
std::string bench_svg(const BenchReport& report);

}  // namespace echelon
