// What rank 0 tells the others to be: assignments and orders to start.
#include "engine/rank_messages.h"
#include "engine/schedule/wire.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr int kNumRanks = 8;

void run(std::string_view input) {
  const auto bytes = as_bytes(input);
  try {
    const Assignment assignment = decode_assignment(bytes, kNumRanks);
    expect(assignment.sizes.num_ranks() == std::ssize(assignment.ranks), "sizes that do not fit the ranks were taken");
    for (const int rank : assignment.ranks) {
      expect(rank >= 0 && rank < kNumRanks, "a rank that is not there was taken");
      expect(assignment.ranks[static_cast<size_t>(assignment.index_of(rank))] == rank, "a rank is not where it is");
    }
    expect(as_text(encode(assignment)) == input, "an assignment that no encoder wrote was taken");
  } catch (const WireError&) {
  }
  try {
    const StartOrder order = decode_start_order(bytes);
    expect(order.num_blocks >= 1, "an order without blocks was taken");
    expect(as_text(encode(order)) == input, "an order that no encoder wrote was taken");
  } catch (const WireError&) {
  }
}

std::vector<std::string> seeds() {
  const Assignment assignment{
      .replica = 1, .sizes = {.dp = 1, .tp = 2, .pp = 2}, .ranks = {3, 0, 2, 7}, .ranks_on_host = 4};
  return {as_text(encode(assignment)), as_text(encode(StartOrder{.num_blocks = 12, .end_tokens = {1, 2}}))};
}

const Target target("rank_orders", run, seeds);

}  // namespace
}  // namespace echelon::fuzzing
