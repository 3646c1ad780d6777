// Who serves, on the engine's own thread: ranks get their places, are lost, and others take over; what ran is held
// meanwhile and goes on elsewhere from its tokens, which are its journal.
#include <fmt/format.h>

#include <algorithm>

#include "engine/planner/capacity.h"
#include "engine/schedule/wire.h"
#include "engine/serving_engine.h"
#include "engine/steady_time.h"
#include "kernels/base/limits.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

/// A request in whose micro-batches ranks were lost so often, with no token in between, may be what loses them.
constexpr int kMaxInterruptions = 5;
/// Repairs of which none led to a replica that serves: the job cannot recover.
constexpr int kMaxRepairsInARow = 8;

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

RequestError interrupted_too_often() {
  return {.http_status = 500,
          .message = fmt::format("ranks were lost {} times while they worked on this request", kMaxInterruptions),
          .type = "server_error",
          .code = "ranks_lost"};
}

}  // namespace

/// Tells the ranks of a replica's new team what they are.
void ServingEngine::assign(int replica) {
  const Roster::Team& team = roster_.team(replica);
  const auto now = Clock::now();
  TeamState& state = teams_[static_cast<size_t>(replica)];
  state.told_to_start = false;
  monitor_.set_team(replica, team.ranks, team.sizes.tp);
  Assignment assignment{.replica = replica, .sizes = team.sizes, .ranks = {team.ranks.begin(), team.ranks.end()}};
  for (const int rank : team.ranks) {
    heard_[static_cast<size_t>(rank)] = now;
    assignment.ranks_on_host = roster_.num_at_work_beside(rank);
    control_.send(rank, {.kind = MessageKind::assign, .epoch = team.epoch, .payload = encode(assignment)});
  }
}

std::optional<int> ServingEngine::serving_replica_of(int rank, uint32_t epoch) const {
  const std::optional<int> replica = roster_.replica_of(rank);
  const bool serves = replica && roster_.team(*replica).epoch == epoch && replicas_[static_cast<size_t>(*replica)];
  return serves ? replica : std::nullopt;
}

void ServingEngine::handle_status(int rank, const ControlMessage& message) {
  if (roster_.is_lost(rank)) return;
  const RankStatus status = decode_rank_status(message.payload);
  if (status.settings_digest != settings_digest(options_)) {
    const std::string cause =
        fmt::format("rank {} on {} was started with other options than rank 0", rank, status.metrics.host);
    return ever_ready_ ? give_up(rank, cause) : fail(cause);
  }
  const std::optional<int> replica = roster_.replica_of(rank);
  const bool is_current = replica && roster_.team(*replica).epoch == message.epoch;
  if (!is_current && status.phase != RankPhase::idle) return;
  const auto index = static_cast<size_t>(rank);
  statuses_[index] = status;
  status_epochs_[index] = message.epoch;
  monitor_.note_status(rank, status, seconds_now());
  if (!is_current) return;
  heard_[index] = Clock::now();
  go_on_with(*replica);
}

/// A team that does not serve yet: have its ranks come far enough for the next step?
void ServingEngine::go_on_with(int replica) {
  if (replicas_[static_cast<size_t>(replica)] != nullptr) return;
  const auto all_in = [&](int which, RankPhase phase) {
    const Roster::Team& team = roster_.team(which);
    return std::all_of(team.ranks.begin(), team.ranks.end(), [&](int rank) {
      const auto index = static_cast<size_t>(rank);
      return status_epochs_[index] == team.epoch && statuses_[index].phase >= phase;
    });
  };
  if (!teams_[static_cast<size_t>(replica)].told_to_start) {
    if (!ever_ready_) {
      if (all_replicas([&](int each) { return all_in(each, RankPhase::opened); })) begin_first();
    } else if (all_in(replica, RankPhase::opened)) {
      begin_again(replica);
    }
  } else if (all_in(replica, RankPhase::ready)) {
    begin_serving(replica);
  }
  tell_state();
}

bool ServingEngine::all_replicas(const std::function<bool(int)>& holds) const {
  for (int replica = 0; replica < roster_.num_replicas(); ++replica) {
    if (!holds(replica)) return false;
  }
  return true;
}

/// KV blocks that every one of these has room for. Says why there are too few.
std::optional<int64_t> ServingEngine::room_of(const std::vector<int>& ranks, std::string& refusal) const {
  int64_t num_blocks = INT32_MAX;
  int narrowest = ranks.front();
  for (const int rank : ranks) {
    const int64_t room = statuses_[static_cast<size_t>(rank)].max_blocks;
    if (room < num_blocks) narrowest = rank;
    num_blocks = std::min(num_blocks, room);
  }
  const int needed = (model()->max_model_len + kBlockTokens - 1) / kBlockTokens;
  if (num_blocks >= needed) return num_blocks;
  refusal = fmt::format(
      "rank {} on {} has room for {} KV blocks ({} tokens), one sequence of --max-model-len {} needs {}: lower "
      "--max-model-len, or raise --num-kv-blocks or --kv-cache-memory",
      narrowest, statuses_[static_cast<size_t>(narrowest)].metrics.host, num_blocks, num_blocks * kBlockTokens,
      model()->max_model_len, needed);
  return std::nullopt;
}

/// All ranks are open for the first time: the number of blocks is what fits everywhere.
void ServingEngine::begin_first() {
  std::vector<int> all;
  for (int replica = 0; replica < roster_.num_replicas(); ++replica) {
    const std::vector<int>& ranks = roster_.team(replica).ranks;
    all.insert(all.end(), ranks.begin(), ranks.end());
  }
  std::string refusal;
  const std::optional<int64_t> num_blocks = room_of(all, refusal);
  if (!num_blocks) return fail(refusal);
  for (int replica = 0; replica < roster_.num_replicas(); ++replica) order_start(replica, *num_blocks);
}

void ServingEngine::begin_again(int replica) {
  std::string refusal;
  const std::optional<int64_t> num_blocks = room_of(roster_.team(replica).ranks, refusal);
  if (!num_blocks) return fail("after ranks were lost, " + refusal);
  order_start(replica, *num_blocks);
}

void ServingEngine::order_start(int replica, int64_t num_blocks) {
  TeamState& state = teams_[static_cast<size_t>(replica)];
  state.told_to_start = true;
  state.num_blocks = num_blocks;
  const Roster::Team& team = roster_.team(replica);
  const std::vector<std::byte> order = encode(StartOrder{.num_blocks = num_blocks, .end_tokens = end_tokens_});
  for (const int rank : team.ranks)
    control_.send(rank, {.kind = MessageKind::start, .epoch = team.epoch, .payload = order});
}

void ServingEngine::begin_serving(int replica) {
  const Roster::Team& team = roster_.team(replica);
  TeamState& state = teams_[static_cast<size_t>(replica)];
  SchedulerOptions scheduler = scheduler_options(options_, team.sizes.pp, state.num_blocks);
  scheduler.epoch = team.epoch;
  scheduler.end_tokens = end_tokens_;
  scheduler.vocab = model()->vocab_size;
  scheduler.hidden = model()->hidden_size;
  replicas_[static_cast<size_t>(replica)] = std::make_unique<Replica>(scheduler);
  num_repairs_in_a_row_ = 0;
  if (ever_ready_) {
    const double paused_s = std::chrono::duration<double>(Clock::now() - state.broken_at).count();
    metrics_.repair_time.observe(paused_s);
    log::info("replica {} serves again after {:.2f} s: {}", replica, paused_s, describe(team));
  }
  for (std::vector<Sequence>& request : std::exchange(held_, {})) place(std::move(request));
  if (ever_ready_ || !all_replicas([&](int each) { return replicas_[static_cast<size_t>(each)] != nullptr; })) return;
  ever_ready_ = true;
  last_progress_ms_ = milliseconds_now();
  publish_metrics();
  if (draining_) return;
  set_state(EngineState::ready, "ready");
  if (callbacks_.on_ready) callbacks_.on_ready();
}

std::string ServingEngine::describe(const Roster::Team& team) const {
  return fmt::format("pp {} x tp {} on rank{} {}", team.sizes.pp, team.sizes.tp, team.num_ranks() == 1 ? "" : "s",
                     fmt::join(team.ranks, ", "));
}

/// Of ranks that are to hold the model together: the layout that they would be started with, where it fits, else the
/// one with room for most tokens.
std::optional<LayoutSizes> ServingEngine::sizes_for(const std::vector<int>& ranks) const {
  RankHosts hosts;
  for (const int rank : ranks) hosts.host_of_rank.push_back(host_of_rank_[static_cast<size_t>(rank)]);
  for (size_t i = 0; i < ranks.size(); ++i) {
    const auto beside = std::count(hosts.host_of_rank.begin(), hosts.host_of_rank.end(), hosts.host_of_rank[i]);
    hosts.rank_bytes.push_back(statuses_[static_cast<size_t>(ranks[i])].host_bytes / static_cast<uint64_t>(beside));
  }
  const std::unique_ptr<Backend> backend = backend_for_sizes(options_);
  const auto blocks_of = [&](LayoutSizes sizes) -> int64_t {
    const LayoutCapacity capacity = layout_capacity(open_->files, options_, *backend, hosts, sizes);
    return capacity.fits() ? capacity.num_blocks : 0;
  };
  const LayoutSizes any{.dp = 1, .tp = 0, .pp = 0};
  const LayoutSizes usual = choose_layout(any, hosts.host_of_rank);
  if (blocks_of(usual) > 0) return usual;
  std::optional<LayoutSizes> best;
  int64_t most_blocks = 0;
  for (const LayoutSizes sizes : possible_layouts(any, hosts.num_ranks())) {
    const int64_t num_blocks = blocks_of(sizes);
    if (num_blocks <= most_blocks) continue;
    most_blocks = num_blocks;
    best = sizes;
  }
  return best;
}

void ServingEngine::handle_lost(int rank, const std::string& reason) {
  if (stopped_ || roster_.is_lost(rank)) return;
  const std::string cause = fmt::format("rank {} is lost: {}", rank, reason);
  if (!ever_ready_ || !options_.repair) return fail(cause);
  log::warn("{}", cause);
  ++metrics_.ranks_lost;
  const std::optional<int> replica = roster_.replica_of(rank);
  if (replica) break_up(*replica, cause);
  roster_.lose(rank);
  if (const std::optional<int> neighbour = roster_.live_rank_beside(rank))
    control_.send(*neighbour, {.kind = MessageKind::reap, .number = static_cast<uint64_t>(rank), .payload = {}});
  if (replica) repair(cause);
}

/// A rank that does not work is as good as lost. Without rank 0 there is no job.
void ServingEngine::give_up(int rank, const std::string& reason) {
  if (stopped_ || roster_.is_lost(rank)) return;
  if (rank == 0 || !ever_ready_ || !options_.repair) return fail(reason);
  control_.drop(rank, reason);  // comes back as a loss
}

/// A rank waited in vain for another of its team, which may be the one that is to blame.
void ServingEngine::handle_broken(int rank, uint32_t epoch, const std::string& reason) {
  const std::optional<int> replica = roster_.replica_of(rank);
  if (!replica || roster_.team(*replica).epoch != epoch) return;
  const std::string cause = fmt::format("rank {}: {}", rank, reason);
  if (!ever_ready_ || !options_.repair) return fail(cause);
  log::warn("{}", cause);
  break_up(*replica, cause);
  repair(cause);
}

/// The team's epoch is over. What it ran is held.
void ServingEngine::break_up(int replica, const std::string& reason) {
  const auto index = static_cast<size_t>(replica);
  const Roster::Team& team = roster_.team(replica);
  for (const int rank : team.ranks)
    control_.send(rank, {.kind = MessageKind::fence, .epoch = team.epoch, .payload = bytes_of(reason)});
  roster_.break_up(replica);
  monitor_.set_team(replica, {}, 1);
  monitor_.note_in_flight(replica, 0, seconds_now());
  if (replicas_[index] == nullptr) return;
  teams_[index].broken_at = Clock::now();
  Scheduler& scheduler = replicas_[index]->scheduler();
  metrics_.preemptions += scheduler.num_preemptions();
  metrics_.prefix_query_tokens += scheduler.num_prefix_queries();
  metrics_.prefix_hit_tokens += scheduler.num_prefix_hits();
  std::vector<SequenceId> hopeless;
  for (std::vector<Sequence>& request : scheduler.take_all()) {
    for (const Sequence& sequence : request) {
      ActiveChoice& choice = choices_.at(sequence.id);
      choice.replica = kHeld;
      metrics_.replayed_tokens += sequence.tokens.size();
      if (sequence.was_interrupted && ++choice.num_interruptions >= kMaxInterruptions) hopeless.push_back(sequence.id);
    }
    held_.push_back(std::move(request));
  }
  replicas_[index] = nullptr;
  for (const SequenceId id : hopeless) end_choice(id, FinishReason::error, interrupted_too_often());
}

void ServingEngine::repair(const std::string& reason) {
  if (++num_repairs_in_a_row_ > kMaxRepairsInARow)
    return fail(fmt::format("{} repairs in a row did not help; the last: {}", kMaxRepairsInARow, reason));
  for (const int replica : roster_.fill()) {
    log::info("replica {}: epoch {}, {}", replica, roster_.team(replica).epoch, describe(roster_.team(replica)));
    ++metrics_.repairs;
    assign(replica);
  }
  if (!roster_.any_serves()) return fail("no layout of the ranks that are left holds the model; " + reason);
  const bool any = std::any_of(replicas_.begin(), replicas_.end(), [](const auto& each) { return each != nullptr; });
  if (any) {
    for (std::vector<Sequence>& request : std::exchange(held_, {})) place(std::move(request));
  }
  repair_reason_ = reason;
  tell_state();
}

/// A micro-batch without its result, or a rank whose main thread says nothing, for too long.
void ServingEngine::look_for_stalls() {
  const auto now = Clock::now();
  const double now_s = seconds_now();
  for (int replica = 0; replica < roster_.num_replicas() && ever_ready_ && !stopped_; ++replica) {
    const Roster::Team& team = roster_.team(replica);
    if (!team.serves()) continue;
    const auto limit = std::chrono::seconds(options_.stall_timeout_s);
    if (const auto& serving = replicas_[static_cast<size_t>(replica)]; serving != nullptr) {
      if (now_s - serving->waiting_since_s() < static_cast<double>(options_.stall_timeout_s)) continue;
      const std::string cause =
          fmt::format("replica {}: micro-batch {} has no result after {} s; {}", replica, serving->oldest_in_flight(),
                      options_.stall_timeout_s, late_rank(replica, serving->oldest_in_flight()));
      if (!options_.repair) return fail(cause);
      log::warn("{}", cause);
      break_up(replica, cause);
      repair(cause);
      continue;
    }
    for (const int rank : std::vector(team.ranks)) {
      if (now - heard_[static_cast<size_t>(rank)] < limit) continue;
      give_up(rank, fmt::format("it did not take its place within {} s", options_.stall_timeout_s));
    }
  }
}

/// The first stage that has not told of a micro-batch.
std::string ServingEngine::late_rank(int replica, uint64_t number) const {
  for (const int rank : roster_.team(replica).ranks) {
    const RankStatus& status = statuses_[static_cast<size_t>(rank)];
    if (status.first_span + status.spans.size() > number) continue;
    return fmt::format("rank {} on {} (stage {}, part {}) has not run it", rank, status.metrics.host, status.metrics.pp,
                       status.metrics.tp);
  }
  return "every rank has run it";
}

/// What health says.
void ServingEngine::tell_state() {
  if (draining_ || stopped_) return;
  if (!ever_ready_) {
    double share = 1;
    for (int replica = 0; replica < roster_.num_replicas(); ++replica) {
      for (const int rank : roster_.team(replica).ranks)
        share = std::min(share, statuses_[static_cast<size_t>(rank)].loaded_share);
    }
    return set_state(EngineState::loading, fmt::format("reading weights, {:.0f} %", 100 * share));
  }
  const auto num_serving =
      std::count_if(replicas_.begin(), replicas_.end(), [](const auto& r) { return r != nullptr; });
  if (num_serving == 0) return set_state(EngineState::repairing, "repairing: " + repair_reason_);
  if (num_serving == std::ssize(replicas_)) return set_state(EngineState::ready, "ready");
  set_state(EngineState::ready, fmt::format("{} of {} replicas serve", num_serving, replicas_.size()));
}

}  // namespace echelon
