#include "launch/commands/bench.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "kernels/base/error.h"
#include "launch/bench/load.h"
#include "launch/bench_options.h"
#include "launch/endpoint_file.h"
#include "launch/write_file.h"

namespace echelon {
namespace {

constexpr int kFailed = 1, kFault = 2;

/// One line that is written over, on a terminal.
void show_progress(const std::string& what, int done, int total) {
  if (isatty(STDERR_FILENO) == 0) return;
  constexpr int kWidth = 30;
  const auto filled = static_cast<size_t>(kWidth * static_cast<int64_t>(done) / total);
  fmt::print(stderr, "\r{} [{}{}] {}/{} ", what, std::string(filled, '#'), std::string(kWidth - filled, '.'), done,
             total);
  if (done == total) fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

int measure(const BenchOptions& options) {
  BenchLoad load{.server = server_at(options.url),
                 .api_key = options.api_key,
                 .model = {},
                 .prompt_tokens = options.prompt_tokens,
                 .output_tokens = options.output_tokens,
                 .num_requests = options.requests};
  load.model = served_model(load.server, load.api_key);
  BenchReport report{.model = load.model,
                     .url = options.url,
                     .offered_name = options.rates.empty() ? "clients" : "requests/s",
                     .prompt_tokens = options.prompt_tokens,
                     .output_tokens = options.output_tokens,
                     .num_requests = options.requests,
                     .goals = {}};
  if (options.goal_ttft_ms > 0) report.goals.ttft_s = options.goal_ttft_ms * 1e-3;
  if (options.goal_tpot_ms > 0) report.goals.tpot_s = options.goal_tpot_ms * 1e-3;
  fmt::print("{}", bench_head(report));
  std::fflush(stdout);
  std::string first_error;
  bool interrupted = false;
  const uint64_t seed = options.seed > 0 ? static_cast<uint64_t>(options.seed) : std::random_device()();
  const auto add = [&](double offered) {
    if (interrupted) return;
    load.seed = seed * 1000 + report.rows.size();  // no row meets the prompts of another
    const std::string what = fmt::format("{:.4g} {}", offered, report.offered_name);
    LoadResult result = run_load(load, [&](int done) { show_progress(what, done, options.requests); });
    interrupted = result.interrupted;
    for (const RequestSample& sample : result.samples) {
      if (first_error.empty()) first_error = sample.error;
    }
    report.rows.push_back({.offered = offered, .seconds = result.seconds, .samples = std::move(result.samples)});
    fmt::print("{}", bench_line(report, report.rows.back()));
    std::fflush(stdout);
  };
  for (const double rate : options.rates) {
    load.rate = rate;
    add(rate);
  }
  const bool is_one = options.rates.empty() && options.clients.empty();
  for (const int clients : is_one ? std::vector<int>{1} : options.clients) {
    load.clients = clients;
    add(clients);
  }
  if (!options.json.empty()) write_file(options.json, bench_json(report));
  if (!options.svg.empty()) write_file(options.svg, bench_svg(report));
  if (!first_error.empty()) fmt::print(stderr, "echelon: a request failed: {}\n", first_error);
  return first_error.empty() && !interrupted ? 0 : kFailed;
}

}  // namespace

int bench(const std::vector<std::string>& arguments) {
  try {
    const BenchInvocation invocation = parse_bench(arguments, process_environment());
    if (invocation.help || invocation.print_config) {
      fmt::print("{}", invocation.help ? bench_help() : print_config("bench", invocation));
      return 0;
    }
    for (const std::string& warning : invocation.warnings) fmt::print(stderr, "echelon: {}\n", warning);
    return measure(invocation.options);
  } catch (const Error& error) {
    fmt::print(stderr, "echelon: {}\n", error.what());
    return kFault;
  }
}

}  // namespace echelon
