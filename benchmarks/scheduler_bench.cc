// What does planning cost rank 0? The real scheduler and the bytes of its plans, with nothing behind them: N sequences
// decode, W more wait behind full slots. One step is next(), encode() of the plan, and decode and commit() of its
// result. Prints, for each N and W: processor time of a step (median) in microseconds, what a running sequence adds to
// it (against the line with the fewest), and bytes of a plan's row in a step that registers nothing (median).
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <vector>

#include "engine/schedule/scheduler.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr int kPrompt = 300, kOutput = 1'000, kSteps = 900, kVocab = 128'000;

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

TokenId any_token(uint64_t n) { return static_cast<TokenId>(n * 2654435761u % kVocab); }

std::vector<std::byte> answer(const MicroBatch& batch) {
  StepResult result{.epoch = batch.epoch, .number = batch.number};
  result.stage_us = static_cast<uint32_t>(1000 + 10 * batch.tokens.size());  // the scheduler learns from it
  for (const PlanRow& row : batch.rows) {
    if (!row.sample) continue;
    RowResult& out = result.rows.emplace_back();
    out.slot = row.slot;
    out.generation = row.generation;
    out.sampled = true;
    out.token.token = any_token(batch.number * 4099 + static_cast<uint64_t>(row.slot));
  }
  return encode(result);
}

struct Step {
  double seconds = 0;
  size_t rows = 0, plan_bytes = 0;
  bool steady = false;
};

Step run_step(Scheduler& scheduler) {
  const double begin = thread_seconds();
  const std::optional<MicroBatch> batch = scheduler.next();
  const std::vector<std::byte> plan = encode(*batch);
  double spent = thread_seconds() - begin;
  const std::vector<std::byte> result = answer(*batch);
  const double received = thread_seconds();
  scheduler.commit(decode_step_result(result));
  spent += thread_seconds() - received;
  return {.seconds = spent,
          .rows = batch->rows.size(),
          .plan_bytes = plan.size(),
          .steady = batch->registrations.empty() && batch->tokens.size() == batch->rows.size()};
}

struct Figures {
  double us = 0, row_bytes = 0;
};

Figures measure(int num_running, int num_waiting) {
  const int blocks_each = (kPrompt + kOutput) / kBlockTokens + 2;
  Scheduler scheduler({.num_blocks = num_running * blocks_each,
                       .max_num_seqs = num_running,
                       .max_batch_tokens = 8192,
                       .depth = 1,
                       .vocab = kVocab});
  for (int i = 0; i < num_running + num_waiting; ++i) {
    std::vector<Sequence> one(1);
    one[0].id = one[0].first_choice = one[0].order = static_cast<uint64_t>(i) + 1;
    one[0].num_prompt = kPrompt;
    one[0].sampling.max_tokens = kOutput;
    for (int t = 0; t < kPrompt; ++t) one[0].tokens.push_back(any_token(static_cast<uint64_t>(i) * 1009 + t));
    scheduler.add(std::move(one));
  }
  std::vector<double> us, bytes;
  for (int step = 0; step < kSteps; ++step) {
    const Step done = run_step(scheduler);
    if (!done.steady || static_cast<int>(done.rows) != num_running) continue;
    us.push_back(1e6 * done.seconds);
    bytes.push_back(static_cast<double>(done.plan_bytes) / static_cast<double>(done.rows));
  }
  return {.us = median(us), .row_bytes = median(bytes)};
}

}  // namespace
}  // namespace echelon

int main() {
  using namespace echelon;
  fmt::print("{:>8} {:>8} {:>10} {:>16} {:>14}\n", "running", "waiting", "step us", "us a sequence", "bytes a row");
  for (const int num_waiting : {0, 1000}) {
    Figures few;
    for (const int num_running : {256, 1024, 4096}) {
      const Figures found = measure(num_running, num_waiting);
      if (num_running == 256) few = found;
      const double growth = num_running == 256 ? found.us / 256 : (found.us - few.us) / (num_running - 256);
      fmt::print("{:>8} {:>8} {:>10.1f} {:>16.3f} {:>14.1f}\n", num_running, num_waiting, found.us, growth,
                 found.row_bytes);
    }
  }
  return 0;
}
