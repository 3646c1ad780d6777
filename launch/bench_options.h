// The command line of `echelon bench`.
#pragma once

#include <string>
#include <vector>

#include "launch/command_line.h"

namespace echelon {

struct BenchOptions {
  std::string url = "http://127.0.0.1:8000";
  std::string api_key;  ///< empty: none is sent
  int prompt_tokens = 512, output_tokens = 128, requests = 64, seed = 0;
  std::vector<int> clients;                ///< a row for each; none and no rates: one client
  std::vector<double> rates;               ///< requests a second, a row for each
  int goal_ttft_ms = 0, goal_tpot_ms = 0;  ///< 0: none
  std::string json, svg;                   ///< files; empty: none
};

struct BenchInvocation : Invocation {
  BenchOptions options;
};

Command bench_command(BenchOptions& options);

/// As parse_command(), but serve's own variables are left alone.
BenchInvocation parse_bench(const std::vector<std::string>& arguments, const Environment& environment);

std::string bench_help();

}  // namespace echelon
