#include "engine/rank_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "engine/host_memory.h"
#include "engine/model/open_model.h"
#include "engine/model/rank_memory.h"
#include "engine/model/stage_model.h"
#include "engine/schedule/wire.h"
#include "engine/stage/timed_communicator.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr int kStatusIntervalMs = 1000;
constexpr int kIdleTickMs = 1;  ///< before work that is done while there is nothing else

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

/// A bar on this rank's terminal, and now and then a word to rank 0 for its health page. Used by the loading thread.
class ReportedProgress final : public Progress {
 public:
  ReportedProgress(ProgressBar& bar, std::function<void()> report) : bar_(bar), report_(std::move(report)) {}

  void advance(uint64_t num_bytes) override {
    bar_.advance(num_bytes);
    if (SteadyClock::now() < next_report_) return;
    next_report_ = SteadyClock::now() + kInterval;
    report_();
  }

 private:
  static constexpr std::chrono::milliseconds kInterval{250};
  ProgressBar& bar_;
  std::function<void()> report_;
  SteadyClock::time_point next_report_ = SteadyClock::now() + kInterval;
};

}  // namespace

struct RankRunner::Loaded {
  OpenModel model;
  std::unique_ptr<Backend> backend;
  Shard shard;
  StageWeights weights;
  StartOrder order;
  std::unique_ptr<Communicator> parts;  ///< tensor_group_, timed
  std::unique_ptr<StageModel> stage_model;
};

RankRunner::RankRunner(const EngineOptions& options, const Layout& layout, RankPlace place, Communicator& tensor_group,
                       Communicator& replica_group, ControlChannel& control)
    : options_(options),
      layout_(layout),
      place_(std::move(place)),
      tensor_group_(tensor_group),
      replica_group_(replica_group),
      control_(control) {
  const Place at = layout.place(place_.rank);
  status_.settings_digest = settings_digest(options);
  status_.metrics = {.rank = place_.rank, .dp = at.dp, .pp = at.pp, .tp = at.tp, .host = place_.host};
}

void RankRunner::push(ControlMessage message) {
  {
    const std::lock_guard lock(mutex_);
    auto& inbox = message.kind == MessageKind::masks ? masks_ : inbox_;
    inbox.push_back(std::move(message));
  }
  changed_.notify_one();
}

void RankRunner::abandon(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_.empty()) abandoned_ = reason;
  }
  tensor_group_.abandon(reason);
  replica_group_.abandon(reason);
  changed_.notify_one();
}

std::optional<ControlMessage> RankRunner::next_message(int timeout_ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                    [&] { return !inbox_.empty() || !abandoned_.empty(); });
  if (!abandoned_.empty()) throw Error(Part::engine, abandoned_);
  if (inbox_.empty()) return std::nullopt;
  ControlMessage message = std::move(inbox_.front());
  inbox_.pop_front();
  return message;
}

/// Those of one micro-batch, which rank 0 sends in the order of micro-batches.
std::vector<RowMask> RankRunner::wait_for_masks(uint64_t number, int64_t vocab) {
  StepMasksInParts masks(number);
  while (!masks.is_whole()) {
    ControlMessage message;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !masks_.empty() || !abandoned_.empty(); });
      if (!abandoned_.empty()) throw Error(Part::engine, abandoned_);
      message = std::move(masks_.front());
      masks_.pop_front();
    }
    masks.add(decode_step_masks(message.payload, vocab));
  }
  return masks.take();
}

void RankRunner::send_status(RankPhase phase, double loaded_share) {
  status_.phase = phase;
  status_.loaded_share = loaded_share;
  status_.metrics.cpu_seconds = process_cpu_seconds();
  status_.metrics.resident_bytes = resident_bytes();
  meter_.report(status_);
  control_.send(0, {.kind = MessageKind::status, .payload = encode(status_)});
}

std::unique_ptr<RankRunner::Loaded> RankRunner::load() {
  const auto start = SteadyClock::now();
  OpenModel model = open_model(options_.model);
  const Place at = layout_.place(place_.rank);
  const std::vector<int> cut = layers_per_stage(options_, model.files, layout_.sizes().pp);
  auto backend =
      make_cpu_backend({.compute = options_.compute, .num_threads = options_.num_threads, .isa = options_.isa});
  Shard shard = make_shard(model.files.spec, layout_.sizes(), at, cut);
  auto loaded = std::make_unique<Loaded>(
      Loaded{std::move(model), std::move(backend), std::move(shard), {}, {}, nullptr, nullptr});
  const ModelSpec& spec = loaded->model.files.spec;
  const RankMemory memory = rank_memory(loaded->model.files, loaded->shard, *loaded->backend, options_);
  status_.max_blocks =
      kv_blocks_that_fit(memory, options_, spec, available_host_bytes() / static_cast<uint64_t>(place_.ranks_on_host));
  send_status(RankPhase::opened, 0);

  const std::string label = fmt::format("rank {}", place_.rank);
  const uint64_t total_bytes = stage_file_bytes(loaded->model.files, loaded->shard);
  ProgressBar bar(label, total_bytes);
  ReportedProgress progress(bar, [&] {
    send_status(RankPhase::opened,
                static_cast<double>(bar.done_bytes()) / static_cast<double>(std::max<uint64_t>(total_bytes, 1)));
  });
  loaded->weights = load_stage_weights(loaded->model.files, loaded->shard, *loaded->backend, &progress);
  bar.finish();
  loaded->model.files.weights->drop_pages();

  std::optional<ControlMessage> message;
  const auto deadline = SteadyClock::now() + std::chrono::seconds(options_.startup_timeout_s);
  while (!message) {
    message = next_message(kStatusIntervalMs);
    if (!message && SteadyClock::now() > deadline)
      throw Error(Part::engine, "rank 0 did not say how many KV blocks to take");
  }
  if (message->kind == MessageKind::stop) return nullptr;
  if (message->kind != MessageKind::status || !is_start_order(message->payload))
    throw WireError("expected the start order first");
  loaded->order = decode_start_order(message->payload);
  const int64_t num_blocks = loaded->order.num_blocks;
  status_.metrics.weight_bytes = loaded->weights.size_bytes();
  status_.metrics.activation_bytes = memory.activations;
  status_.metrics.kv_bytes = static_cast<uint64_t>(num_blocks) * memory.kv_block;
  loaded->parts = std::make_unique<TimedCommunicator>(tensor_group_, meter_.clock());
  loaded->stage_model =
      std::make_unique<StageModel>(spec, loaded->shard, std::move(loaded->weights), *loaded->backend, *loaded->parts,
                                   StageModelOptions{.max_rows = options_.max_batch_tokens,
                                                     .max_model_len = max_sequence_tokens(options_, spec),
                                                     .num_blocks = num_blocks,
                                                     .kv_type = options_.kv_type},
                                   loaded->model.rope_factors);
  status_.max_blocks = num_blocks;
  status_.metrics.load_seconds = seconds_since(start);
  return loaded;
}

void RankRunner::run() {
  const std::unique_ptr<Loaded> loaded = load();
  if (!loaded) return;
  run_plans(*loaded);
}

void RankRunner::run_plans(Loaded& loaded) {
  const ModelSpec& spec = loaded.model.files.spec;
  const Shard& shard = loaded.shard;
  const std::vector<int> replica = layout_.replica(shard.place.dp);
  const auto index_of = [&](Place place) {
    const int rank = layout_.rank_at(place);
    return static_cast<int>(std::find(replica.begin(), replica.end(), rank) - replica.begin());
  };
  Neighbours neighbours{.replica = &replica_group_};
  Place near = shard.place;
  near.pp = shard.place.pp - 1;
  if (!shard.is_first_stage()) neighbours.previous = index_of(near);
  near.pp = shard.place.pp + 1;
  if (!shard.is_last_stage()) neighbours.next = index_of(near);
  if (layout_.sizes().tp > 1) neighbours.parts = loaded.parts.get();
  const SlotLimits limits{.num_slots = options_.max_num_seqs,
                          .num_blocks = status_.max_blocks,
                          .vocab = spec.vocab,
                          .max_rows = options_.max_batch_tokens,
                          .max_model_len = max_sequence_tokens(options_, spec)};
  const bool is_sampler = shard.is_last_stage() && shard.place.tp == 0;
  Stage stage(*loaded.stage_model, limits, neighbours, shard.is_last_stage(), is_sampler, spec.vocab,
              loaded.order.end_tokens, meter_.clock());
  send_status(RankPhase::ready, 1);
  meter_.set_profile(stage_profile(loaded.model.files, shard, *loaded.backend, options_));

  auto last_status = SteadyClock::now();
  uint64_t last_number = 0;
  const int num_stages = layout_.sizes().pp;
  const bool plans_ahead = num_stages == 1 && micro_batches_in_flight(options_, num_stages) > 1;
  bool cache_is_claimed = false;
  while (true) {
    const auto waiting_since = SteadyClock::now();
    // With nothing to do: what is the machine able to do, and the cache's memory; that again after an idle second.
    const bool first_measures = meter_.wants_to_measure() && !meter_.has_ceiling();
    const std::optional<ControlMessage> message =
        next_message(first_measures || !cache_is_claimed ? kIdleTickMs : kStatusIntervalMs);
    if (!message && meter_.wants_to_measure() && (first_measures || cache_is_claimed)) {
      meter_.measure_ceiling(options_, place_.ranks_on_host);
    } else if (!message && !cache_is_claimed) {
      cache_is_claimed = !loaded.stage_model->claim_more_cache();
    }
    meter_.note_plan_wait(seconds_since(waiting_since));
    if (SteadyClock::now() - last_status >= std::chrono::milliseconds(kStatusIntervalMs)) {
      send_status(RankPhase::running, 1);
      last_status = SteadyClock::now();
    }
    if (!message) continue;
    if (message->kind == MessageKind::stop) return;
    if (message->kind != MessageKind::plan) throw WireError("expected a plan");
    const MicroBatch batch = decode_micro_batch(message->payload);
    if (batch.number != last_number + 1) {
      throw WireError(fmt::format("plan {} came after plan {}", batch.number, last_number));
    }
    last_number = batch.number;
    const auto layers_done = [&] {
      if (!plans_ahead) return;
      control_.send(0, {.kind = MessageKind::layers_done, .epoch = batch.epoch, .number = batch.number, .payload = {}});
    };
    const auto masks = [&] { return wait_for_masks(batch.number, spec.vocab); };
    if (const std::optional<StepResult> result = stage.run(batch, layers_done, masks)) {
      control_.send(
          0, {.kind = MessageKind::result, .epoch = batch.epoch, .number = batch.number, .payload = encode(*result)});
    }
    meter_.note_ran(batch);
  }
}

}  // namespace echelon
