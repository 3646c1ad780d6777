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
#include "kernels/base/check.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr int kStatusIntervalMs = 1000;
constexpr int kIdleTickMs = 1;  ///< before work that is done while there is nothing else
/// A wait that failed because a peer is gone: rank 0 knows soon, and fences the epoch.
constexpr int kFenceGraceMs = 500;
constexpr std::chrono::microseconds kSendingTick{50};

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

/// What stays from epoch to epoch, as long as the place needs the same part of the model.
struct RankRunner::Loaded {
  OpenModel model;
  std::unique_ptr<Backend> backend;
  TimedCommunicator parts;
  std::optional<Shard> shard;  ///< of the place
  RankMemory memory;
  std::optional<StageWeights> weights;  ///< until stage_model has them
  std::unique_ptr<StageModel> stage_model;
  int64_t num_blocks = 0;  ///< of stage_model
  bool cache_is_claimed = false;

  bool holds(const Shard& other) const {
    const auto key = [](const Shard& s) {
      return std::tuple(s.place.pp, s.place.tp, s.pp, s.tp, s.layers.first, s.layers.count);
    };
    return (weights || stage_model) && key(*shard) == key(other);
  }
};

struct RankRunner::Groups {
  std::unique_ptr<Communicator> tensor, replica;
  bool progress();
  void abandon(const std::string& reason) {
    tensor->abandon(reason);
    replica->abandon(reason);
  }
};

RankRunner::RankRunner(const EngineOptions& options, RankSelf self, MakeGroup make_group, ControlChannel& control)
    : options_(options), self_(std::move(self)), make_group_(std::move(make_group)), control_(control) {
  status_.settings_digest = settings_digest(options);
  status_.host_bytes = available_host_bytes();
  status_.metrics = {.rank = self_.rank, .dp = -1, .pp = -1, .tp = -1, .host = self_.host};
}

RankRunner::~RankRunner() = default;

void RankRunner::push(ControlMessage message) {
  {
    const std::lock_guard lock(mutex_);
    const bool is_fence = message.kind == MessageKind::fence;
    if (is_fence || message.kind == MessageKind::assign) {
      // An assignment fences what was before it.
      const uint32_t over = is_fence ? message.epoch : message.epoch - 1;
      if (over > fenced_) {
        fenced_ = over;
        fence_reason_ = is_fence
                            ? std::string(reinterpret_cast<const char*>(message.payload.data()), message.payload.size())
                            : "the rank has another place now";
      }
      if (epoch_ != 0 && epoch_ <= fenced_) {
        epoch_stop_.request_stop();
        if (groups_ != nullptr) groups_->abandon(fence_reason_);
      }
    }
    if (!is_fence) (message.kind == MessageKind::masks ? masks_ : inbox_).push_back(std::move(message));
  }
  changed_.notify_one();
}

void RankRunner::abandon(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_.empty()) abandoned_ = reason;
    epoch_stop_.request_stop();
    if (groups_ != nullptr) groups_->abandon(reason);
  }
  changed_.notify_one();
}

/// With mutex_ held.
void RankRunner::check_epoch() {
  if (!abandoned_.empty()) throw Error(Part::engine, abandoned_);
  if (epoch_ != 0 && epoch_ <= fenced_) throw EpochOver();
}

/// Groups of the epoch that still send, though nobody is in a call of theirs.
bool RankRunner::Groups::progress() {
  const bool tensor_sends = tensor->progress(), replica_sends = replica->progress();
  return tensor_sends || replica_sends;
}

/// The next of this epoch, or the next order between two epochs; what is left of older ones is dropped.
std::optional<ControlMessage> RankRunner::next_message(int timeout_ms) {
  const auto until = SteadyClock::now() + std::chrono::milliseconds(timeout_ms);
  bool sends = groups_ != nullptr && groups_->progress();
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto has_news = [&] { return !inbox_.empty() || !abandoned_.empty() || (epoch_ != 0 && epoch_ <= fenced_); };
    changed_.wait_until(lock, sends ? std::min(until, SteadyClock::now() + kSendingTick) : until, has_news);
    check_epoch();
    if (inbox_.empty()) {
      if (SteadyClock::now() >= until) return std::nullopt;
      lock.unlock();
      sends = sends && groups_->progress();
      lock.lock();
      continue;
    }
    ControlMessage message = std::move(inbox_.front());
    inbox_.pop_front();
    const bool is_order = message.kind == MessageKind::stop || (epoch_ == 0 && message.kind == MessageKind::assign);
    if (is_order ? message.kind == MessageKind::stop || message.epoch > fenced_
                 : epoch_ != 0 && message.epoch == epoch_)
      return message;
  }
}

/// Those of one micro-batch, which rank 0 sends in the order of micro-batches.
std::vector<RowMask> RankRunner::wait_for_masks(uint64_t number, int64_t vocab) {
  StepMasksInParts masks(number);
  while (!masks.is_whole()) {
    ControlMessage message;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !masks_.empty() || !abandoned_.empty() || epoch_ <= fenced_; });
      check_epoch();
      message = std::move(masks_.front());
      masks_.pop_front();
    }
    if (message.epoch == epoch_) masks.add(decode_step_masks(message.payload, vocab));
  }
  return masks.take();
}

void RankRunner::send_status(RankPhase phase, double loaded_share) {
  status_.phase = phase;
  status_.loaded_share = loaded_share;
  status_.metrics.cpu_seconds = process_cpu_seconds();
  status_.metrics.resident_bytes = resident_bytes();
  meter_.report(status_);
  control_.send(0, {.kind = MessageKind::status, .epoch = epoch_, .payload = encode(status_)});
}

void RankRunner::run() {
  while (const std::optional<Assignment> assignment = wait_for_assignment()) {
    try {
      serve(*assignment);
      return;
    } catch (const EpochOver&) {
      leave();
    } catch (const CommunicatorError& error) {
      report_broken(error.what());
      leave();
    }
  }
}

/// Nothing: the job ends.
std::optional<Assignment> RankRunner::wait_for_assignment() {
  status_.metrics.dp = status_.metrics.pp = status_.metrics.tp = -1;
  send_status(RankPhase::idle, 0);
  for (;;) {
    const std::optional<ControlMessage> message = next_message(kStatusIntervalMs);
    if (!message) {
      send_status(RankPhase::idle, 0);
      continue;
    }
    if (message->kind == MessageKind::stop) return std::nullopt;
    Assignment assignment = decode_assignment(message->payload, self_.num_ranks);
    if (assignment.index_of(self_.rank) < 0) throw WireError("this rank is not in its assignment");
    enter(message->epoch);
    return assignment;
  }
}

void RankRunner::enter(uint32_t epoch) {
  const std::lock_guard lock(mutex_);
  epoch_ = epoch;
  epoch_stop_ = std::stop_source();
}

void RankRunner::leave() {
  const std::lock_guard lock(mutex_);
  ECHELON_CHECK(groups_ == nullptr);
  epoch_ = 0;
  masks_.clear();
}

/// A peer has left, or does not answer. When rank 0 knows already, there is nothing to say.
void RankRunner::report_broken(const std::string& cause) {
  {
    std::unique_lock lock(mutex_);
    const auto is_over = [&] { return !abandoned_.empty() || epoch_ <= fenced_; };
    if (changed_.wait_for(lock, std::chrono::milliseconds(kFenceGraceMs), is_over)) {
      if (!abandoned_.empty()) throw Error(Part::engine, abandoned_);
      return;
    }
  }
  const auto bytes = std::as_bytes(std::span(cause));
  control_.send(0, {.kind = MessageKind::broken, .epoch = epoch_, .payload = {bytes.begin(), bytes.end()}});
}

/// Returns after a stop message.
void RankRunner::serve(const Assignment& assignment) {
  const auto start = SteadyClock::now();
  open(assignment);
  const std::unique_ptr<Groups> groups = make_groups(assignment);
  struct Leave {
    RankRunner& runner;
    ~Leave() {
      const std::lock_guard lock(runner.mutex_);
      runner.groups_ = nullptr;
    }
  } leave{*this};
  {
    const std::lock_guard lock(mutex_);
    check_epoch();
    groups_ = groups.get();
  }
  if (!loaded_->stage_model && !loaded_->weights) read_weights();
  const StartOrder order = wait_for_start();
  if (order.num_blocks == 0) return;
  loaded_->parts.set_group(groups->tensor.get());
  prepare_model(order);
  status_.metrics.load_seconds = seconds_since(start);
  run_plans(assignment, order, *groups);
}

/// The model's headers, and what the place takes of it.
void RankRunner::open(const Assignment& assignment) {
  const int index = assignment.index_of(self_.rank);
  const LayoutSizes& sizes = assignment.sizes;
  const Place place{.dp = assignment.replica, .pp = index / sizes.tp, .tp = index % sizes.tp};
  ranks_on_host_ = assignment.ranks_on_host;
  status_.metrics.dp = place.dp;
  status_.metrics.pp = place.pp;
  status_.metrics.tp = place.tp;
  if (!loaded_) {
    loaded_ = std::make_unique<Loaded>(Loaded{
        .model = open_model(options_.model),
        .backend =
            make_cpu_backend({.compute = options_.compute, .num_threads = options_.num_threads, .isa = options_.isa}),
        .parts = TimedCommunicator(meter_.clock()),
        .shard = {},
        .memory = {},
        .weights = {},
        .stage_model = {}});
  }
  const ModelFiles& files = loaded_->model.files;
  Shard shard = make_shard(files.spec, sizes, place, layers_per_stage(options_, files, sizes.pp));
  if (!loaded_->holds(shard)) {
    loaded_->stage_model.reset();
    loaded_->weights.reset();
  }
  loaded_->shard = std::move(shard);
  loaded_->memory = rank_memory(files, *loaded_->shard, *loaded_->backend, options_);
  status_.max_blocks = kv_blocks_that_fit(loaded_->memory, options_, files.spec,
                                          status_.host_bytes / static_cast<uint64_t>(ranks_on_host_));
  send_status(RankPhase::opened, 0);
}

std::unique_ptr<RankRunner::Groups> RankRunner::make_groups(const Assignment& assignment) {
  std::stop_token given_up;
  {
    const std::lock_guard lock(mutex_);
    check_epoch();
    given_up = epoch_stop_.get_token();
  }
  const int stage = loaded_->shard->place.pp, tp = assignment.sizes.tp;
  const auto first = assignment.ranks.begin() + ptrdiff_t{stage} * tp;
  auto groups = std::make_unique<Groups>();
  groups->tensor =
      make_group_({first, first + tp}, {.epoch = epoch_, .index = 1 + static_cast<uint32_t>(stage)}, given_up);
  groups->replica = make_group_(assignment.ranks, {.epoch = epoch_, .index = 0}, given_up);
  return groups;
}

void RankRunner::read_weights() {
  const ModelFiles& files = loaded_->model.files;
  const std::string label = fmt::format("rank {}", self_.rank);
  const uint64_t total_bytes = stage_file_bytes(files, *loaded_->shard);
  ProgressBar bar(label, total_bytes);
  ReportedProgress progress(bar, [&] {
    send_status(RankPhase::opened,
                static_cast<double>(bar.done_bytes()) / static_cast<double>(std::max<uint64_t>(total_bytes, 1)));
  });
  loaded_->weights = load_stage_weights(files, *loaded_->shard, *loaded_->backend, &progress);
  bar.finish();
  files.weights->drop_pages();
}

/// Without blocks: the job ends before it has begun.
StartOrder RankRunner::wait_for_start() {
  const auto deadline = SteadyClock::now() + std::chrono::seconds(options_.startup_timeout_s);
  for (;;) {
    const std::optional<ControlMessage> message = next_message(kStatusIntervalMs);
    if (!message) {
      if (SteadyClock::now() > deadline) throw Error(Part::engine, "rank 0 did not say how many KV blocks to take");
      send_status(RankPhase::opened, 1);
      continue;
    }
    if (message->kind == MessageKind::stop) return {};
    if (message->kind != MessageKind::start) throw WireError("expected the start order first");
    return decode_start_order(message->payload);
  }
}

void RankRunner::prepare_model(const StartOrder& order) {
  Loaded& loaded = *loaded_;
  if (loaded.stage_model && loaded.num_blocks != order.num_blocks) {
    loaded.weights = loaded.stage_model->take_weights();
    loaded.stage_model.reset();
  }
  if (!loaded.stage_model) {
    const ModelSpec& spec = loaded.model.files.spec;
    status_.metrics.weight_bytes = loaded.weights->size_bytes();
    loaded.stage_model =
        std::make_unique<StageModel>(spec, *loaded.shard, std::move(*loaded.weights), *loaded.backend, loaded.parts,
                                     StageModelOptions{.max_rows = options_.max_batch_tokens,
                                                       .max_model_len = max_sequence_tokens(options_, spec),
                                                       .num_blocks = order.num_blocks,
                                                       .kv_type = options_.kv_type},
                                     loaded.model.rope_factors);
    loaded.weights.reset();
    loaded.num_blocks = order.num_blocks;
    loaded.cache_is_claimed = false;
  }
  status_.max_blocks = order.num_blocks;
  status_.metrics.activation_bytes = loaded.memory.activations;
  status_.metrics.kv_bytes = static_cast<uint64_t>(order.num_blocks) * loaded.memory.kv_block;
}

void RankRunner::run_plans(const Assignment& assignment, const StartOrder& order, Groups& groups) {
  Loaded& loaded = *loaded_;
  const ModelSpec& spec = loaded.model.files.spec;
  const Shard& shard = *loaded.shard;
  const int index = assignment.index_of(self_.rank), tp = assignment.sizes.tp;
  const Neighbours neighbours{.replica = groups.replica.get(),
                              .previous = shard.is_first_stage() ? -1 : index - tp,
                              .next = shard.is_last_stage() ? -1 : index + tp,
                              .parts = tp > 1 ? &loaded.parts : nullptr};
  const SlotLimits limits{.num_slots = options_.max_num_seqs,
                          .num_blocks = order.num_blocks,
                          .vocab = spec.vocab,
                          .max_rows = options_.max_batch_tokens,
                          .max_model_len = max_sequence_tokens(options_, spec)};
  const bool is_sampler = shard.is_last_stage() && shard.place.tp == 0;
  Stage stage(*loaded.stage_model, limits, neighbours, shard.is_last_stage(), is_sampler, spec.vocab, order.end_tokens,
              meter_.clock());
  send_status(RankPhase::ready, 1);
  meter_.set_profile(stage_profile(loaded.model.files, shard, *loaded.backend, options_));

  auto last_status = SteadyClock::now();
  uint64_t last_number = 0;
  const bool plans_ahead = assignment.sizes.pp == 1 && micro_batches_in_flight(options_, 1) > 1;
  while (true) {
    const auto waiting_since = SteadyClock::now();
    // With nothing to do: what is the machine able to do, and the cache's memory; that again after an idle second.
    const bool first_measures = meter_.wants_to_measure() && !meter_.has_ceiling();
    const std::optional<ControlMessage> message =
        next_message(first_measures || !loaded.cache_is_claimed ? kIdleTickMs : kStatusIntervalMs);
    if (!message) idle_work(first_measures);
    meter_.note_plan_wait(seconds_since(waiting_since));
    if (SteadyClock::now() - last_status >= std::chrono::milliseconds(kStatusIntervalMs)) {
      send_status(RankPhase::running, 1);
      last_status = SteadyClock::now();
    }
    if (!message) continue;
    if (message->kind == MessageKind::stop) return;
    if (message->kind != MessageKind::plan) throw WireError("expected a plan");
    const MicroBatch batch = decode_micro_batch(message->payload);
    if (batch.number != last_number + 1 || batch.epoch != epoch_) {
      throw WireError(fmt::format("plan {} of epoch {} came after plan {} of epoch {}", batch.number, batch.epoch,
                                  last_number, epoch_));
    }
    last_number = batch.number;
    run_plan(stage, batch, plans_ahead);
    meter_.note_ran(batch);
  }
}

void RankRunner::idle_work(bool first_measures) {
  if (meter_.wants_to_measure() && (first_measures || loaded_->cache_is_claimed)) {
    meter_.measure_ceiling(options_, ranks_on_host_);
  } else if (!loaded_->cache_is_claimed) {
    loaded_->cache_is_claimed = !loaded_->stage_model->claim_more_cache();
  }
}

void RankRunner::run_plan(Stage& stage, const MicroBatch& batch, bool plans_ahead) {
  const auto layers_done = [&] {
    if (!plans_ahead) return;
    control_.send(0, {.kind = MessageKind::layers_done, .epoch = batch.epoch, .number = batch.number, .payload = {}});
  };
  const auto masks = [&] { return wait_for_masks(batch.number, loaded_->model.files.spec.vocab); };
  if (const std::optional<StepResult> result = stage.run(batch, layers_done, masks)) {
    control_.send(
        0, {.kind = MessageKind::result, .epoch = batch.epoch, .number = batch.number, .payload = encode(*result)});
  }
}

}  // namespace echelon
