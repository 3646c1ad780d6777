#include "launch/bench_options.h"

#include <limits>

#include "kernels/base/error.h"
#include "launch/sweep_rows.h"

namespace echelon {

Command bench_command(BenchOptions& options) {
  constexpr Range kTokens{1, 1 << 24}, kRequests{1, 1 << 20}, kSeeds{0, std::numeric_limits<int>::max()},
      kGoals{0, 1 << 30};
  Command command{.name = "bench", .rows = {}};
  auto& rows = command.rows;
  rows.push_back(text({.name = "url", .value_name = "URL", .help = "the address of a server, or its --endpoint-file"},
                      options.url));
  rows.back().operand = true;
  rows.push_back(integer({.name = "prompt", .value_name = "N", .help = "tokens of each prompt"}, options.prompt_tokens,
                         kTokens, true));
  rows.push_back(integer({.name = "output", .value_name = "N", .help = "tokens of each answer"}, options.output_tokens,
                         kTokens, true));
  rows.push_back(
      integer({.name = "requests", .value_name = "N", .help = "of each row"}, options.requests, kRequests, true));
  rows.push_back(concurrencies_row(options.clients));
  rows.push_back(rates_row(options.rates));
  rows.push_back(
      integer({.name = "bench-seed",
               .value_name = "N",
               .help = "of prompts and of the times of --sweep-rate; 0: drawn, so that nothing is in a cache"},
              options.seed, kSeeds));
  rows.push_back(
      integer({.name = "goal-ttft-ms",
               .value_name = "N",
               .help = "what a user waits for a first token at most: requests that meet the goals are counted; "
                       "0: no goal"},
              options.goal_ttft_ms, kGoals));
  rows.push_back(integer({.name = "goal-tpot-ms", .value_name = "N", .help = "likewise for a token behind the first"},
                         options.goal_tpot_ms, kGoals));
  rows.push_back(text({.name = "json", .value_name = "FILE", .help = "all figures, with the names of vLLM's bench"},
                      options.json));
  rows.push_back(
      text({.name = "svg", .value_name = "FILE", .help = "a plot of throughput and latencies"}, options.svg));
  rows.push_back(client_key_row(options.api_key));
  return command;
}

BenchInvocation parse_bench(const std::vector<std::string>& arguments, const Environment& environment) {
  BenchInvocation invocation;
  Environment own = environment;
  own.erase("ECHELON_CONFIG");
  static_cast<Invocation&>(invocation) = parse_command(bench_command(invocation.options), arguments, own);
  BenchOptions& options = invocation.options;
  if (!options.rates.empty() && !options.clients.empty())
    throw Error(Part::launch, "--sweep-rate and --sweep-concurrency: one of them");
  return invocation;
}

std::string bench_help() {
  std::string out =
      "usage: echelon bench URL [options]\n\n"
      "Measures a running server, ours or another of OpenAI's API: clients with one request at a time each\n"
      "(--sweep-concurrency), or requests at random times (--sweep-rate). Prompts are drawn token ids, no two alike, "
      "and\n"
      "answers have exactly the tokens that are asked for. The table is that of echelon simulate.\n\n";
  BenchOptions presets;
  for (const OptionRow& row : bench_command(presets).rows) out += option_help(row);
  return out;
}

}  // namespace echelon
