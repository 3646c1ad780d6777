// Do the stages of the pipeline overlap?   mpirun -np P pipeline_bench [STAGE_MS]
// Real ranks, the real scheduler, control channel, communicators and stages; only the layers sleep instead of
// computing: STAGE_MS (10) for a micro-batch of up to 64 tokens, more in proportion. Five rounds, each line a figure of
// one round:
//   steady   24 sequences decode: micro-batches/s with one in flight and with P; one a STAGE_MS is the ceiling
//   cold     a prompt of 16 chunks through empty stages, to its token: wall time over 16 + P - 1 times STAGE_MS
//   prefill  a prompt of 16,384 tokens, to its token: what its chunks sleep on all stages together, which is what one
//            stage with all layers would take, over wall time
#include <fmt/format.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/schedule/scheduler.h"
#include "engine/stage/stage.h"
#include "kernels/base/limits.h"
#include "parallel/end_job.h"
#include "parallel/job.h"

namespace echelon {
namespace {

using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr int kVocab = 64, kHidden = 576, kNumSlots = 32, kNumBlocks = 640, kMaxRows = 512, kStageTokens = 64;
constexpr int kRounds = 5;

/// Sequences that come at once.
struct Work {
  int num_sequences = 1, num_prompt = 1, num_output = 1;
  int max_batch_tokens = kMaxRows;
};
constexpr Work kDecodes{.num_sequences = 24, .num_prompt = 4, .num_output = 80, .max_batch_tokens = 256};
constexpr Work kCold{.num_prompt = 16 * kStageTokens, .max_batch_tokens = kStageTokens};
constexpr Work kPrefill{.num_prompt = 16'384};

Milliseconds stage_time(Milliseconds least, int num_rows) {
  return least * std::max(1.0, static_cast<double>(num_rows) / kStageTokens);
}

class SleepingLayers final : public LayerRunner {
 public:
  /// The thread that runs the layers makes them: its sleeps are to end when they should, not up to 50 us later.
  explicit SleepingLayers(Milliseconds least) : least_(least) { prctl(PR_SET_TIMERSLACK, 1); }
  void embed(const BatchView&) override {}
  void run_layers(const BatchView& batch) override {
    std::this_thread::sleep_for(stage_time(least_, batch.num_rows()));
  }
  std::span<const float> logits(std::span<const int> rows) override {
    logits_.assign(rows.size() * kVocab, 0.0f);
    return logits_;
  }
  std::span<const float> final_hidden(std::span<const int> rows) override {
    logits_.assign(rows.size() * kHidden, 0.0f);
    return logits_;
  }
  std::span<std::byte> hidden_bytes(int rows) override {
    hidden_.resize(static_cast<size_t>(rows) * kHidden * sizeof(float));
    return hidden_;
  }

 private:
  const Milliseconds least_;
  std::vector<float> logits_;
  std::vector<std::byte> hidden_;
};

/// Messages of one kind of reader.
class Inbox {
 public:
  void push(ControlMessage message) {
    {
      const std::lock_guard lock(mutex_);
      messages_.push_back(std::move(message));
    }
    changed_.notify_one();
  }
  ControlMessage pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !messages_.empty(); });
    ControlMessage message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ControlMessage> messages_;
};

struct Figures {
  int num_micro_batches = 0;
  Milliseconds wall{0}, slept{0};  ///< slept: on one stage
};

/// All of the work with at most `depth` micro-batches in flight.
class Planner {
 public:
  Planner(ControlChannel& control, Inbox& results, int num_ranks, Milliseconds least)
      : control_(control), results_(results), num_ranks_(num_ranks), least_(least) {}

  Figures run(const Work& work, int depth) {
    Scheduler scheduler({.num_blocks = kNumBlocks,
                         .max_num_seqs = kNumSlots,
                         .max_batch_tokens = work.max_batch_tokens,
                         .depth = depth,
                         .prefix_cache = false});
    for (SequenceId id = 1; id <= static_cast<SequenceId>(work.num_sequences); ++id) {
      Sequence sequence{.id = id, .first_choice = id, .order = id};
      sequence.sampling.temperature = 0;
      sequence.sampling.max_tokens = work.num_output;
      sequence.tokens.assign(static_cast<size_t>(work.num_prompt), 1);
      sequence.num_prompt = work.num_prompt;
      std::vector<Sequence> one;
      one.push_back(std::move(sequence));
      scheduler.add(std::move(one));
    }
    Figures figures;
    const uint64_t first_number = next_number_;
    const auto start = std::chrono::steady_clock::now();
    while (!scheduler.is_idle()) {
      while (std::optional<MicroBatch> batch = scheduler.next()) {
        batch->number = next_number_++;
        figures.slept += stage_time(least_, static_cast<int>(batch->tokens.size()));
        for (int rank = num_ranks_ - 1; rank >= 0; --rank) {
          control_.send(rank, {.kind = MessageKind::plan, .number = batch->number, .payload = encode(*batch)});
        }
      }
      StepResult result = decode_step_result(results_.pop().payload);
      result.number -= first_number - 1;  // this scheduler counts from 1
      scheduler.commit(result);
    }
    figures.wall = std::chrono::steady_clock::now() - start;
    figures.num_micro_batches = static_cast<int>(next_number_ - first_number);
    return figures;
  }

 private:
  ControlChannel& control_;
  Inbox& results_;
  const int num_ranks_;
  const Milliseconds least_;
  uint64_t next_number_ = 1;
};

void print_round(Planner& planner, int num_ranks, Milliseconds least) {
  const Figures one = planner.run(kDecodes, 1), full = planner.run(kDecodes, num_ranks);
  const auto rate = [](const Figures& f) { return 1000 * f.num_micro_batches / f.wall.count(); };
  const double ceiling = 1000 / least.count();
  fmt::print("steady: {:.1f} micro-batches/s with 1 in flight, {:.1f} with {} (ceiling {:.1f}): {:.1f} % of it\n",
             rate(one), rate(full), num_ranks, ceiling, 100 * rate(full) / ceiling);
  const Figures cold = planner.run(kCold, num_ranks);
  const Milliseconds ideal = least * (cold.num_micro_batches + num_ranks - 1);
  fmt::print("cold: {} micro-batches in {:.1f} ms, {:.3f} of the ideal {:.1f} ms\n", cold.num_micro_batches,
             cold.wall.count(), cold.wall / ideal, ideal.count());
  const Figures prefill = planner.run(kPrefill, num_ranks);
  fmt::print("prefill: {} chunks in {:.1f} ms, {:.2f} times as fast as one stage\n", prefill.num_micro_batches,
             prefill.wall.count(), prefill.slept * num_ranks / prefill.wall);
}

int run(Milliseconds least) {
  const auto job = start_job();
  const int rank = job->rank(), num_ranks = job->size();
  const auto control = job->make_control();
  std::vector<int> all;
  for (int r = 0; r < num_ranks; ++r) all.push_back(r);
  const auto replica = job->make_communicator(all, {});
  Inbox plans, results;
  control->start(
      {.on_message =
           [&](int, ControlMessage message) {
             (message.kind == MessageKind::result ? results : plans).push(std::move(message));
           },
       .on_lost = [](int lost,
                     const std::string& reason) { end_job(fmt::format("rank {} is lost: {}", lost, reason)); },
       .on_dropped = [](const std::string& reason) { end_job(reason); }});
  std::thread planner;
  if (rank == 0) {
    planner = std::thread([&] {
      Planner with(*control, results, num_ranks, least);
      fmt::print("{} stages of {} ms\n", num_ranks, least.count());
      for (int round = 0; round < kRounds; ++round) print_round(with, num_ranks, least);
      for (int r = 0; r < num_ranks; ++r) control->send(r, {.kind = MessageKind::stop});
    });
  }
  SleepingLayers layers(least);
  StageClock clock;
  const SlotLimits limits{.num_slots = kNumSlots,
                          .num_blocks = kNumBlocks,
                          .vocab = kVocab,
                          .max_rows = kMaxRows,
                          .max_model_len = kMaxModelLen};
  const bool last = rank == num_ranks - 1;
  Stage stage(layers, limits, {.replica = replica.get(), .previous = rank - 1, .next = last ? -1 : rank + 1}, last,
              last, kVocab, {}, clock);
  for (ControlMessage message = plans.pop(); message.kind == MessageKind::plan; message = plans.pop()) {
    const MicroBatch batch = decode_micro_batch(message.payload);
    if (const auto result = stage.run(batch)) {
      control->send(0, {.kind = MessageKind::result, .number = batch.number, .payload = encode(*result)});
    }
  }
  if (planner.joinable()) planner.join();
  control->close();
  job->finish();
  return 0;
}

}  // namespace
}  // namespace echelon

int main(int argc, char** argv) {
  const double least_ms = argc > 1 ? std::strtod(argv[1], nullptr) : 10;
  if (argc > 2 || !(least_ms >= 0.1 && least_ms <= 1000)) {
    fmt::print(stderr, "pipeline_bench [STAGE_MS]: from 0.1 to 1000\n");
    return 2;
  }
  return echelon::run(echelon::Milliseconds(least_ms));
}
