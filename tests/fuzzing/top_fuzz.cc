// What `echelon top` asks a server: its metrics before and now, and its pipeline, with a line "--" between them.
#include <algorithm>

#include "kernels/base/error.h"
#include "launch/top/metrics_text.h"
#include "launch/top/snapshot.h"
#include "launch/top/view.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  Pieces pieces(input);
  const std::string_view first = pieces.until("\n--\n"), second = pieces.until("\n--\n");
  try {
    parse_metrics(second);
    Snapshot before = parse_snapshot(first), now = parse_snapshot(second.empty() ? first : second);
    try {
      now.trace = parse_trace(pieces.rest(), now);
    } catch (const Error&) {
    }
    for (const bool colour : {false, true}) {
      for (const std::string& line : top_lines(before, now, 2.0, {.width = 100, .colour = colour})) {
        const bool is_printable = std::all_of(
            line.begin(), line.end(), [&](char c) { return (c >= ' ' && c <= '~') || (colour && c == '\x1b'); });
        expect(is_printable, "a server's text commands the terminal");
      }
    }
  } catch (const Error&) {
  }
}

std::string metrics(const std::string& scale) {
  std::string text =
      "# HELP x y\nvllm:num_requests_running{model_name=\"m \\\"x\\\"\"} 3\nvllm:generation_tokens_total 1" + scale +
      "\nechelon_kv_blocks_total 10" + scale + "\nechelon_steps_total 7" + scale +
      "\nvllm:kv_cache_usage_perc 0.5 1700000000\n";
  for (int rank = 0; rank < 2; ++rank) {
    const std::string labels =
        "{rank=\"" + std::to_string(rank) + "\",host=\"h\",dp=\"0\",pp=\"" + std::to_string(rank) + "\",tp=\"0\"";
    text += "echelon_rank_info" + labels + "} 1\n";
    text += "echelon_stage_busy_seconds_total" + labels + "} 1" + scale + ".5\n";
    text += "echelon_stage_wait_seconds_total" + labels + ",cause=\"plan\"} 2" + scale + "\n";
    text += "echelon_stage_active_seconds_total" + labels + "} 3" + scale + "\n";
    text += "echelon_stage_bytes_total" + labels + "} 1e9\nechelon_rank_ceiling_bytes_per_second" + labels + "} 2e10\n";
  }
  return text;
}

std::vector<std::string> seeds() {
  return {metrics("") + "\n--\n" + metrics("0") + "\n--\n" +
              R"({"micro_batches": [{"replica": 0, "number": 7, "rows": 3, "stages": [[0.5, 0.25], [0.4, 0.1]]}]})",
          metrics("1")};
}

const Target target("top", run, seeds,
                    {"\n--\n",
                     "rank=\"0\"",
                     "rank=\"1\"",
                     "dp=\"0\"",
                     "pp=\"1\"",
                     "tp=\"0\"",
                     "NaN",
                     "+Inf",
                     "-Inf",
                     "1e308",
                     "-1",
                     "9e18",
                     "\\n",
                     "\\\"",
                     "echelon_stage_operations_total",
                     "kind=\"int8\"",
                     "echelon_rank_ready",
                     "vllm:num_requests_waiting",
                     "\"micro_batches\"",
                     "\"stages\"",
                     "\"replica\"",
                     "\"number\"",
                     "\x1b[2J"});

}  // namespace
}  // namespace echelon::fuzzing
