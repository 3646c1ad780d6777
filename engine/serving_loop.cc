// The engine's own thread: loading, the step loop, events of the ranks, metrics.
#include <fmt/format.h>

#include <algorithm>

#include "engine/model_info.h"
#include "engine/schedule/step_masks.h"
#include "engine/schedule/wire.h"
#include "engine/serving_engine.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr int kIdleWakeMs = 1000;

int64_t milliseconds_now() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void ServingEngine::set_state(EngineState state, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    state_ = state;
    reason_ = reason;
  }
  changed_.notify_all();
}

void ServingEngine::run() {
  try {
    load();
    run_loop();
  } catch (const std::exception& error) {
    fail(error.what());
  }
}

/// Reads the text side while the ranks read the weights.
void ServingEngine::load() {
  const OpenModel open = open_model(options_.model);
  std::shared_ptr<ModelInfo> info = make_model_info(options_, open);
  end_tokens_ = info->end_tokens;
  const std::lock_guard lock(mutex_);
  model_ = std::move(info);
  reason_ = "reading weights";
}

void ServingEngine::run_loop() {
  while (!stopped_) {
    std::deque<Event> events;
    {
      std::unique_lock lock(mutex_);
      const auto wake = deadlines_.next_before(next_wake());
      changed_.wait_until(lock, wake, [&] { return !inbox_.empty(); });
      events.swap(inbox_);
    }
    for (Event& event : events) handle(event);
    if (stopped_) break;
    expire();
    if (serving_) {
      plan();
      send_masks();
    }
    deliver();  // the ranks are at work again: waking the listeners' threads costs them nothing
    publish_metrics();
    if (draining_) stop_when_drained();
  }
}

/// When the loop goes on though nothing comes, but for deadlines.
ServingEngine::Clock::time_point ServingEngine::next_wake() const {
  double wake_s = seconds_now() + kIdleWakeMs * 1e-3;
  for (const auto& replica : replicas_) wake_s = std::min(wake_s, replica->scheduler().wake_s());
  return Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(wake_s)));
}

void ServingEngine::stop_when_drained() {
  const auto idle = [](const auto& replica) { return replica->scheduler().is_idle(); };
  if (!requests_.empty() || !std::all_of(replicas_.begin(), replicas_.end(), idle)) return;
  {
    const std::lock_guard lock(mutex_);  // no request comes any more: submit() looks at the state under this lock
    if (std::any_of(inbox_.begin(), inbox_.end(), [](const Event& event) { return event.kind == Event::Kind::submit; }))
      return;
  }
  for (int rank = 0; rank < layout_.num_ranks(); ++rank) control_.send(rank, {.kind = MessageKind::stop});
  stopped_ = true;
  set_state(EngineState::stopped, "drained");
}

void ServingEngine::handle(Event& event) {
  switch (event.kind) {
    case Event::Kind::submit:
      handle_submit(event);
      break;
    case Event::Kind::cancel: {
      const auto found = requests_.find(event.handle);
      if (found == requests_.end()) break;
      for (const SequenceId id : std::vector(found->second->sequences)) {
        if (id != 0) end_choice(id, FinishReason::abort);
      }
      break;
    }
    case Event::Kind::stop_choice: {
      const auto found = requests_.find(event.handle);
      if (found == requests_.end()) break;
      const std::vector<SequenceId>& sequences = found->second->sequences;
      if (event.number < 0 || event.number >= static_cast<int>(sequences.size())) break;
      if (const SequenceId id = sequences[event.number]; id != 0) end_choice(id, FinishReason::stop);
      break;
    }
    case Event::Kind::reset_prefixes:
      for (const auto& replica : replicas_) replica->scheduler().reset_prefix_cache();
      break;
    case Event::Kind::message:
      if (event.message.kind == MessageKind::result) {
        handle_result(event.number, event.message);
      } else if (event.message.kind == MessageKind::layers_done) {
        replica_of(event.number).note_layers_done(event.message.number);
      } else if (event.message.kind == MessageKind::status) {
        handle_status(event.number, decode_rank_status(event.message.payload));
      } else if (event.message.kind == MessageKind::failure) {
        const auto* text = reinterpret_cast<const char*>(event.message.payload.data());
        fail(fmt::format("rank {}: {}", event.number, std::string_view(text, event.message.payload.size())));
      }
      break;
    case Event::Kind::lost:
      if (!draining_ || !requests_.empty()) fail(fmt::format("rank {} is lost: {}", event.number, event.reason));
      break;
    case Event::Kind::drain:
      if (!draining_) {
        draining_ = true;
        if (state() != EngineState::failed)
          set_state(EngineState::draining, "draining: running requests finish, new ones are refused");
      }
      break;
  }
}

void ServingEngine::handle_status(int rank, const RankStatus& status) {
  if (status.settings_digest != settings_digest(options_)) {
    fail(fmt::format("rank {} on {} was started with other options than rank 0", rank, status.metrics.host));
    return;
  }
  statuses_.at(rank) = status;
  monitor_.note_status(rank, status, seconds_now());
  heard_.at(rank) = true;
  if (!serving_ && !draining_ && status.phase == RankPhase::opened) {
    double share = 1;
    for (const RankStatus& each : statuses_) share = std::min(share, each.loaded_share);
    set_state(EngineState::loading, fmt::format("reading weights, {:.0f} %", 100 * share));
  }
  if (serving_ || !std::all_of(heard_.begin(), heard_.end(), [](bool heard) { return heard; })) return;
  const auto all_in = [&](RankPhase phase) {
    return std::all_of(statuses_.begin(), statuses_.end(), [&](const RankStatus& s) { return s.phase >= phase; });
  };
  if (replicas_.empty()) {
    begin_serving();
  } else if (all_in(RankPhase::ready)) {
    serving_ = true;
    last_progress_ms_ = milliseconds_now();
    publish_metrics();
    if (draining_) return;
    set_state(EngineState::ready, "ready");
    if (callbacks_.on_ready) callbacks_.on_ready();
  }
}

/// All ranks are open: the number of blocks is what fits everywhere.
void ServingEngine::begin_serving() {
  int64_t num_blocks = INT32_MAX;
  int narrowest = 0;
  for (int rank = 0; rank < layout_.num_ranks(); ++rank) {
    if (statuses_[rank].max_blocks < num_blocks) narrowest = rank;
    num_blocks = std::min(num_blocks, statuses_[rank].max_blocks);
  }
  const int needed = (model()->max_model_len + kBlockTokens - 1) / kBlockTokens;
  if (num_blocks < needed) {
    fail(fmt::format(
        "rank {} on {} has room for {} KV blocks ({} tokens), one sequence of --max-model-len {} needs {}: lower "
        "--max-model-len, or raise --num-kv-blocks or --kv-cache-memory",
        narrowest, statuses_[narrowest].metrics.host, num_blocks, num_blocks * kBlockTokens, model()->max_model_len,
        needed));
    return;
  }
  SchedulerOptions scheduler = scheduler_options(options_, layout_.sizes().pp, num_blocks);
  scheduler.end_tokens = end_tokens_;
  scheduler.vocab = model()->vocab_size;
  scheduler.hidden = model()->hidden_size;
  for (int replica = 0; replica < layout_.sizes().dp; ++replica) {
    replicas_.push_back(std::make_unique<Replica>(scheduler));
    sampling_ranks_.push_back(layout_.rank_at({.dp = replica, .pp = layout_.sizes().pp - 1, .tp = 0}));
  }
  const std::vector<std::byte> order = encode(StartOrder{.num_blocks = num_blocks, .end_tokens = end_tokens_});
  for (int rank = 0; rank < layout_.num_ranks(); ++rank)
    control_.send(rank, {.kind = MessageKind::status, .payload = order});
}

void ServingEngine::plan() {
  for (size_t replica = 0; replica < replicas_.size(); ++replica) {
    while (std::optional<MicroBatch> batch = replicas_[replica]->next(seconds_now())) {
      metrics_.step_rows.observe(static_cast<double>(batch->tokens.size()));
      for (const SequenceId id : replicas_[replica]->scheduler().take_admitted()) {
        if (const auto found = choices_.find(id); found != choices_.end()) {
          ActiveRequest& request = *found->second.request;
          const double waited_s = seconds_between(request.request.arrival, Clock::now());
          metrics_.queue_time.observe(waited_s);
          if (!std::exchange(request.started, true)) {
            request.queue_seconds = waited_s;
            deadlines_.remove(request.start_by, request.handle, Deadlines::Kind::start);
          }
        }
      }
      const std::vector<std::byte> bytes = encode(*batch);
      metrics_.plan_bytes += bytes.size() * replica_ranks_[replica].size();
      // The last stages first: they wait for hidden states anyway, the first stage starts at once.
      for (auto rank = replica_ranks_[replica].rbegin(); rank != replica_ranks_[replica].rend(); ++rank) {
        control_.send(*rank,
                      {.kind = MessageKind::plan, .epoch = batch->epoch, .number = batch->number, .payload = bytes});
      }
    }
    monitor_.note_in_flight(static_cast<int>(replica), replicas_[replica]->scheduler().num_in_flight(), seconds_now());
  }
  const bool in_flight = monitor_.num_in_flight() > 0;
  if (in_flight && !any_in_flight_) last_progress_ms_ = milliseconds_now();
  any_in_flight_ = in_flight;
}

/// The layers of these micro-batches run meanwhile: their ranks have the plans.
void ServingEngine::send_masks() {
  for (size_t replica = 0; replica < replicas_.size(); ++replica) {
    while (const std::optional<MaskedRows> wanted = replicas_[replica]->scheduler().next_masked()) {
      StepMasks part{.epoch = wanted->epoch, .number = wanted->number, .masks = {}};
      const auto send = [&](bool is_last) {
        part.is_last = is_last;
        control_.send(
            sampling_ranks_[replica],
            {.kind = MessageKind::masks, .epoch = part.epoch, .number = part.number, .payload = encode(part)});
        part.masks.clear();
        ++part.part;
      };
      for (const MaskedRow& row : wanted->rows) {
        RowMask& mask = part.masks.emplace_back();
        mask.slot = row.slot;
        mask.generation = row.generation;
        mask.allowed = TokenMask(replicas_[replica]->scheduler().options().vocab);
        choices_.at(row.sequence).matcher->fill(mask.allowed);
        if ((part.masks.size() + 1) * mask.allowed.words().size_bytes() > kMaxMasksBytes) send(false);
      }
      send(true);
    }
  }
}

/// The replica of a rank that answered a plan.
Replica& ServingEngine::replica_of(int rank) {
  if (replicas_.empty()) throw WireError(fmt::format("rank {} answered before there was a plan", rank));
  return *replicas_.at(static_cast<size_t>(layout_.place(rank).dp));
}

void ServingEngine::handle_result(int rank, const ControlMessage& message) {
  const StepResult result = decode_step_result(message.payload);
  for (const SequenceUpdate& update : replica_of(rank).commit(result, seconds_now())) apply(update);
  ++metrics_.steps;
  last_progress_ms_ = milliseconds_now();
}

std::vector<TracedMicroBatch> ServingEngine::pipeline() const { return monitor_.trace(seconds_now()); }

void ServingEngine::fail(const std::string& reason) {
  if (stopped_) return;
  stopped_ = true;
  set_state(EngineState::failed, reason);  // from here on submit() refuses
  abort_all("the job is ending");          // its cause is printed once, by whoever ends it
  if (callbacks_.on_failure) callbacks_.on_failure(reason);
}

void ServingEngine::publish_metrics() {
  EngineMetrics now = metrics_;
  for (const auto& replica : replicas_) {
    const Scheduler* scheduler = &replica->scheduler();
    now.num_running += static_cast<uint64_t>(scheduler->num_running());
    now.num_waiting += static_cast<uint64_t>(scheduler->num_waiting());
    now.preemptions += scheduler->num_preemptions();
    now.prefix_query_tokens += scheduler->num_prefix_queries();
    now.prefix_hit_tokens += scheduler->num_prefix_hits();
    now.kv_blocks_total += static_cast<uint64_t>(scheduler->pool().num_blocks());
    now.kv_blocks_free += static_cast<uint64_t>(scheduler->pool().num_free());
    now.slots_in_use += static_cast<uint64_t>(scheduler->options().max_num_seqs - scheduler->num_free_slots());
  }
  if (now.kv_blocks_total > 0) {
    now.kv_usage = 1.0 - static_cast<double>(now.kv_blocks_free) / static_cast<double>(now.kv_blocks_total);
  }
  now.ranks = monitor_.ranks();
  now.micro_batches_in_flight = monitor_.num_in_flight();
  now.bubble_share = monitor_.bubble_share();
  now.slowest_rank = monitor_.slowest_rank();
  const std::lock_guard lock(mutex_);
  published_ = std::move(now);
}

}  // namespace echelon
