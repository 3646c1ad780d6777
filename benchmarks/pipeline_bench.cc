// Do the stages of the pipeline overlap? Under mpirun -np P: real ranks, the real scheduler, control channel,
// communicators and stages; only the layers sleep 10 ms instead of computing. Prints the rate of micro-batches with one
// and with P in flight; P times one is the ceiling.
#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/schedule/scheduler.h"
#include "engine/stage/stage.h"
#include "parallel/end_job.h"
#include "parallel/job.h"
#include "parallel/layout.h"

namespace echelon {
namespace {

constexpr std::chrono::milliseconds kStageTime{10};
constexpr int kVocab = 64, kHidden = 576, kNumSequences = 24, kNumTokens = 40, kNumSlots = 32, kNumBlocks = 256;

class SleepingLayers final : public LayerRunner {
 public:
  void embed(const BatchView&) override {}
  void run_layers(const BatchView&) override { std::this_thread::sleep_for(kStageTime); }
  std::span<const float> logits(std::span<const int> rows) override {
    logits_.assign(rows.size() * kVocab, 0.0f);
    return logits_;
  }
  std::span<std::byte> hidden_bytes(int rows) override {
    hidden_.resize(static_cast<size_t>(rows) * kHidden * sizeof(float));
    return hidden_;
  }

 private:
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

/// Decodes kNumSequences sequences with `depth` micro-batches in flight; returns micro-batches a second.
double run_decodes(ControlChannel& control, Inbox& results, int num_ranks, int depth, uint64_t& next_number) {
  Scheduler scheduler({.num_blocks = kNumBlocks,
                       .max_num_seqs = kNumSlots,
                       .max_batch_tokens = 256,
                       .depth = depth,
                       .prefix_cache = false});
  for (SequenceId id = 1; id <= kNumSequences; ++id) {
    Sequence sequence{.id = id, .first_choice = id, .order = id};
    sequence.sampling.temperature = 0;
    sequence.sampling.max_tokens = kNumTokens;
    sequence.tokens = {1, 2, 3, 4};
    sequence.num_prompt = 4;
    std::vector<Sequence> one;
    one.push_back(std::move(sequence));
    scheduler.add(std::move(one));
  }
  const uint64_t first_number = next_number;
  const auto start = std::chrono::steady_clock::now();
  while (!scheduler.is_idle()) {
    while (std::optional<MicroBatch> batch = scheduler.next()) {
      batch->number = next_number++;
      for (int rank = num_ranks - 1; rank >= 0; --rank) {
        control.send(rank, {.kind = MessageKind::plan, .number = batch->number, .payload = encode(*batch)});
      }
    }
    StepResult result = decode_step_result(results.pop().payload);
    result.number -= first_number - 1;  // this scheduler counts from 1
    scheduler.commit(result);
  }
  return static_cast<double>(next_number - first_number) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int run() {
  const auto job = start_job();
  const int rank = job->rank(), num_ranks = job->size();
  const auto control = job->make_control();
  std::vector<int> all;
  for (int r = 0; r < num_ranks; ++r) all.push_back(r);
  const auto replica = job->make_communicator(all);
  Inbox plans, results;
  control->start(
      {.on_message =
           [&](int, ControlMessage message) {
             (message.kind == MessageKind::result ? results : plans).push(std::move(message));
           },
       .on_lost = [](int lost,
                     const std::string& reason) { end_job(fmt::format("rank {} is lost: {}", lost, reason)); }});
  std::thread planner;
  if (rank == 0) {
    planner = std::thread([&] {
      uint64_t next_number = 1;
      for (int round = 0; round < 5; ++round) {
        const double one = run_decodes(*control, results, num_ranks, 1, next_number);
        const double full = run_decodes(*control, results, num_ranks, num_ranks, next_number);
        fmt::print(
            "{} stages of {} ms: {:.1f} micro-batches/s with 1 in flight, {:.1f} with {} (ceiling {:.1f}): {:.1f} % of "
            "{} times one\n",
            num_ranks, kStageTime.count(), one, full, num_ranks, 1000.0 / kStageTime.count(),
            100 * full / (num_ranks * one), num_ranks);
      }
      for (int r = 0; r < num_ranks; ++r) control->send(r, {.kind = MessageKind::stop});
    });
  }
  SleepingLayers layers;
  StageClock clock;
  const SlotLimits limits{
      .num_slots = kNumSlots, .num_blocks = kNumBlocks, .vocab = kVocab, .max_rows = 256, .max_model_len = 1024};
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

int main() { return echelon::run(); }
