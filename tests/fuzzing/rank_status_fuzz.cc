// What ranks say of themselves.
#include <cmath>

#include "engine/rank_messages.h"
#include "engine/schedule/wire.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  const auto bytes = as_bytes(input);
  try {
    const RankStatus status = decode_rank_status(bytes);
    expect(status.loaded_share >= 0 && status.loaded_share <= 1, "a share outside of [0, 1] was taken");
    expect(std::isfinite(status.metrics.busy_seconds), "a measure that cannot be was taken");
    expect(status.spans.size() <= kMaxSpans, "too many spans were taken");
    expect(as_text(encode(status)) == input, "a status that no encoder wrote was taken");
  } catch (const WireError&) {
  }
}

std::vector<std::string> seeds() {
  RankStatus status{.phase = RankPhase::running, .settings_digest = 77, .max_blocks = 100, .loaded_share = 0.5};
  status.metrics.host = "node0";
  status.metrics.busy_seconds = 3.5;
  status.first_span = 9;
  status.spans = {{.rows = 2, .begin_us = 100, .end_us = 50}, {.rows = 3, .begin_us = 40, .end_us = 10}};
  return {as_text(encode(RankStatus{})), as_text(encode(status))};
}

const Target target("rank_status", run, seeds);

}  // namespace
}  // namespace echelon::fuzzing
