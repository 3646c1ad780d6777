// The engine's own thread: loading, the step loop, events of the ranks, metrics.
#include <fmt/format.h>

#include <algorithm>

#include "engine/model_info.h"
#include "engine/schedule/step_masks.h"
#include "engine/schedule/wire.h"
#include "engine/serving_engine.h"
#include "engine/steady_time.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr int kIdleWakeMs = 1000;

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
  for (int replica = 0; replica < roster_.num_replicas(); ++replica) assign(replica);
  open_ = open_model(options_.model);
  std::shared_ptr<ModelInfo> info = make_model_info(options_, *open_);
  end_tokens_ = info->end_tokens;
  const std::lock_guard lock(mutex_);
  model_ = std::move(info);
  reason_ = "reading weights";
}

void ServingEngine::run_loop() {
  while (!stopped_) {
    {
      std::unique_lock lock(mutex_);
      const auto wake = deadlines_.next_before(next_wake());
      changed_.wait_until(lock, wake, [&] { return !inbox_.empty(); });
      taken_.swap(inbox_);
    }
    while (!taken_.empty() && !stopped_) {
      Event event = std::move(taken_.front());
      taken_.pop_front();
      handle(event);
    }
    if (stopped_) break;
    expire();
    look_for_stalls();
    if (stopped_) break;
    plan();
    send_masks();
    deliver();  // the ranks are at work again: waking the listeners' threads costs them nothing
    publish_metrics();
    if (draining_) stop_when_drained();
  }
}

/// When the loop goes on though nothing comes, but for deadlines.
ServingEngine::Clock::time_point ServingEngine::next_wake() const {
  double wake_s = seconds_now() + kIdleWakeMs * 1e-3;
  for (const auto& replica : replicas_) {
    if (replica != nullptr) wake_s = std::min(wake_s, replica->scheduler().wake_s());
  }
  return Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(wake_s)));
}

void ServingEngine::stop_when_drained() {
  const auto idle = [](const auto& replica) { return replica == nullptr || replica->scheduler().is_idle(); };
  if (!requests_.empty() || !std::all_of(replicas_.begin(), replicas_.end(), idle)) return;
  {
    const std::lock_guard lock(mutex_);  // no request comes any more: submit() looks at the state under this lock
    if (std::any_of(inbox_.begin(), inbox_.end(), [](const Event& event) { return event.kind == Event::Kind::submit; }))
      return;
  }
  for (int rank = 0; rank < roster_.num_ranks(); ++rank) {
    if (!roster_.is_lost(rank)) control_.send(rank, {.kind = MessageKind::stop});
  }
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
      for (const auto& replica : replicas_) {
        if (replica != nullptr) replica->scheduler().reset_prefix_cache();
      }
      break;
    case Event::Kind::message:
      handle_message(event.number, event.message);
      break;
    case Event::Kind::lost:
      handle_lost(event.number, event.reason);
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

void ServingEngine::plan() {
  for (size_t replica = 0; replica < replicas_.size(); ++replica) {
    if (replicas_[replica] == nullptr) continue;
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
      const std::vector<int>& ranks = roster_.team(static_cast<int>(replica)).ranks;
      metrics_.plan_bytes += bytes.size() * ranks.size();
      // The last stages first: they wait for hidden states anyway, the first stage starts at once.
      for (auto rank = ranks.rbegin(); rank != ranks.rend(); ++rank) {
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
    if (replicas_[replica] == nullptr) continue;
    while (const std::optional<MaskedRows> wanted = replicas_[replica]->scheduler().next_masked()) {
      StepMasks part{.epoch = wanted->epoch, .number = wanted->number, .masks = {}};
      const auto send = [&](bool is_last) {
        part.is_last = is_last;
        control_.send(
            roster_.team(static_cast<int>(replica)).sampler(),
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

/// What a rank says in an epoch that is over changes nothing.
void ServingEngine::handle_message(int rank, const ControlMessage& message) {
  const auto text = [&] {
    return std::string(reinterpret_cast<const char*>(message.payload.data()), message.payload.size());
  };
  const std::optional<int> replica = serving_replica_of(rank, message.epoch);
  try {
    switch (message.kind) {
      case MessageKind::result:
        if (replica) handle_result(*replicas_[static_cast<size_t>(*replica)], message);
        break;
      case MessageKind::layers_done:
        if (replica) replicas_[static_cast<size_t>(*replica)]->note_layers_done(message.number);
        break;
      case MessageKind::status:
        handle_status(rank, message);
        break;
      case MessageKind::broken:
        handle_broken(rank, message.epoch, text());
        break;
      case MessageKind::failure:
        give_up(rank, text());
        break;
      default:
        break;
    }
  } catch (const WireError& error) {
    give_up(rank, error.what());
  }
}

void ServingEngine::handle_result(Replica& replica, const ControlMessage& message) {
  const StepResult result = decode_step_result(message.payload);
  for (const SequenceUpdate& update : replica.commit(result, seconds_now())) apply(update);
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
  for (const std::vector<Sequence>& request : held_) now.num_waiting += request.size();
  for (const auto& replica : replicas_) {
    if (replica == nullptr) continue;
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
  now.num_spares = roster_.idle().size();
  now.micro_batches_in_flight = monitor_.num_in_flight();
  now.bubble_share = monitor_.bubble_share();
  now.slowest_rank = monitor_.slowest_rank();
  const std::lock_guard lock(mutex_);
  published_ = std::move(now);
}

}  // namespace echelon
