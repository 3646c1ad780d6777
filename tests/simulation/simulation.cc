#include "tests/simulation/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "engine/schedule/replica.h"
#include "engine/schedule/step_masks.h"
#include "engine/schedule/virtual_clock.h"
#include "engine/schedule/wire.h"
#include "kernels/base/limits.h"
#include "parallel/control/frame.h"
#include "tests/simulation/simulated_ranks.h"

namespace echelon::simulation {
namespace {

constexpr uint64_t kJob = 0x1234, kMostEvents = 400'000;
constexpr int kNumRequests = 20, kMostPrompt = 160, kMostOutput = 60;
constexpr int kMostFlooding = 2000;

/// What did not hold.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool holds, const std::string& what) {
  if (!holds) throw Broken(what);
}

struct Request {
  std::vector<TokenId> prompt, output;
  SamplingParams sampling;
  int choice = 0, priority = 0, prompt_logprobs = 0;
  TenantId tenant = 0;
  uint64_t salt = 0;
  Pooling pooling = Pooling::none;
  bool masked = false, finished = false;
};

class Simulation {
 public:
  Simulation(uint64_t seed, Fault fault)
      : random_(seed), fault_(fault), options_(choose_options()) {
    begin_epoch();
    faulty_link_ = below(num_stages_ + 1);
    faulty_message_ = 1 + below(60);
    const bool repeats = below(2) == 0;  // blocks with the same tokens and other tokens before them
    for (size_t i = 0; i < 96; ++i) {
      common_prompt_.push_back(repeats && i >= kBlockTokens ? common_prompt_[i - kBlockTokens] : below(kVocab));
    }
    floods_ = below(8) == 0;
    uint64_t time = 0;
    const int most_pause = below(2) == 0 ? 20 : 2000;
    for (int i = 0; i < kNumRequests; ++i) clock_.at(time += below(most_pause), [this] { arrive(); });
    if (fault_ == Fault::rank_lost) {
      for (int i = 1 + below(4); i > 0; --i)
        clock_.at(static_cast<uint64_t>(below(static_cast<int64_t>(time) + 2000)), [this] { lose_rank(); });
    }
  }

  Outcome run() {
    Outcome outcome;
    try {
      uint64_t num_events = 0;
      while (clock_.run_next()) {
        check_now();
        require(++num_events < kMostEvents, "no end in sight");
      }
      check_end();
    } catch (const Broken& broken) {
      outcome.failure = broken.what();
    } catch (const WireError& error) {
      outcome.fault_noticed = error.what();
      if (!fault_happened_) outcome.failure = fmt::format("without a fault: {}", error.what());
    }
    outcome.fault_happened = fault_happened_;
    outcome.num_tokens = num_tokens_;
    outcome.num_vectors = num_vectors_;
    outcome.num_cancelled = num_cancelled_;
    count_epoch();
    outcome.num_preemptions = num_preemptions_;
    outcome.num_cached = num_cached_;
    outcome.num_plans = num_plans_;
    outcome.num_late = num_late_;
    outcome.num_losses = num_losses_;
    return outcome;
  }

 private:
  struct Rank {
    Rank(const RankOptions& options, Streams& streams) : rank(options, streams) {}
    SimulatedRank rank;
    FrameDecoder decoder{kJob, kMaxPayloadBytes};
    std::deque<ControlMessage> plans, masks;
    int num_inputs = 0;  ///< residual streams that have come and were not run
    bool busy = false;
    int pace = 1;
  };
  /// Messages of one direction arrive in order.
  struct Wire {
    uint64_t last_arrival = 0;
    int num_sent = 0;
    std::vector<std::byte> held_back;  ///< the first of two that are swapped
  };

  Scheduler& scheduler() { return replica_->scheduler(); }
  const Scheduler& scheduler() const { return replica_->scheduler(); }

  // --- losses ---

  void begin_epoch() {
    options_.epoch = ++epoch_;
    if (epoch_ > 1 && below(2) == 0) options_.num_blocks = 8 + below(20);  // other ranks have room for other numbers
    replica_ = std::make_unique<Replica>(options_);
    const SlotLimits limits{.num_slots = options_.max_num_seqs,
                            .num_blocks = options_.num_blocks,
                            .vocab = kVocab,
                            .max_rows = options_.max_batch_tokens,
                            .max_model_len = kMostPrompt + kMostOutput};
    ranks_.clear();
    streams_.clear();
    wires_.clear();
    last_input_.clear();
    for (int stage = 0; stage < num_stages_; ++stage) {
      ranks_.push_back(std::make_unique<Rank>(RankOptions{stage, num_stages_, limits}, streams_));
      ranks_.back()->pace = below(8) == 0 ? 40 : 1 + below(4);  // some ranks are slow
    }
  }

  void count_epoch() {
    num_preemptions_ += scheduler().num_preemptions();
    num_cached_ += scheduler().num_prefix_hits();
    num_plans_ += scheduler().last_number();
  }

  /// The epoch is over, also while the one before it is still being repaired; a new one begins after a while.
  void lose_rank() {
    fault_happened_ = true;
    ++num_losses_;
    count_epoch();
    for (std::vector<Sequence>& request : scheduler().take_all()) held_.push_back(std::move(request));
    begin_epoch();
    is_down_ = true;
    clock_.at(clock_.now() + static_cast<uint64_t>(below(500)), [this, epoch = epoch_] {
      if (epoch != epoch_) return;
      is_down_ = false;
      for (std::vector<Sequence>& request : std::exchange(held_, {})) scheduler().add(std::move(request));
      plan();
    });
  }

  void add(std::vector<Sequence> choices) {
    if (is_down_) {
      held_.push_back(std::move(choices));
    } else {
      scheduler().add(std::move(choices));
    }
  }

  bool remove(SequenceId id) {
    for (std::vector<Sequence>& request : held_) {
      if (std::erase_if(request, [&](const Sequence& choice) { return choice.id == id; }) == 0) continue;
      std::erase_if(held_, [](const std::vector<Sequence>& each) { return each.empty(); });
      return true;
    }
    return scheduler().remove(id);
  }

  int below(int64_t end) { return static_cast<int>(random_() % static_cast<uint64_t>(end)); }

  SchedulerOptions choose_options() {
    num_stages_ = 1 + below(4);
    SchedulerOptions options{.num_blocks = 8 + below(20),
                             .max_num_seqs = 1 + below(12),
                             .max_batch_tokens = 1 + below(200),
                             .depth = num_stages_ + below(2),
                             .prefix_cache = below(3) != 0,
                             .itl_target_s = below(3) * 20.0,
                             .prefix_ttl_s = below(3) == 0 ? 1.0 + below(2000) : 0.0,
                             .end_tokens = {kEndToken},
                             .vocab = kVocab,
                             .hidden = kHidden};
    if (below(3) == 0) {
      options.batching = {.policy = below(2) == 0 ? Batching::dynamic : Batching::fixed,
                          .max_batch_size = below(8),
                          .max_wait_s = static_cast<double>(below(300)),
                          .group_by_length = below(2) == 0};
    } else if (below(4) == 0) {
      options.batching.max_batch_size = 1 + below(6);
    }
    options.feed_back = num_stages_ == 1 && below(2) == 0;
    return options;
  }

  // --- clients ---

  SamplingParams choose_sampling() {
    SamplingParams p{.temperature = below(2) == 0 ? 0.0f : 1.0f,
                     .seed = random_(),
                     .max_tokens = 1 + below(kMostOutput),
                     .ignore_eos = below(4) == 0};
    if (below(4) == 0) p.frequency_penalty = 1.5f;
    if (below(4) == 0) p.min_tokens = std::min(below(8), p.max_tokens);
    if (below(4) == 0) p.stop_token_ids = {1, 2};
    return p;
  }

  void arrive() {
    std::vector<TokenId> prompt(common_prompt_.begin(), common_prompt_.begin() + below(97));
    for (int i = 1 + below(kMostPrompt - 96); i > 0; --i) prompt.push_back(below(kVocab));
    const SamplingParams sampling = choose_sampling();
    const Pooling pooling = below(8) == 0 ? (below(2) == 0 ? Pooling::last : Pooling::mean) : Pooling::none;
    const bool pools = pooling != Pooling::none;
    const int num_choices = below(4) == 0 && !pools ? 3 : 1;
    const int priority = below(6) == 0 ? kBackgroundPriority : below(2);
    const auto tenant = static_cast<TenantId>(below(3));
    const bool wants_prompt = below(5) == 0 && !pools;
    const auto salt = static_cast<uint64_t>(below(4) == 0);
    const bool masked = below(3) == 0 && !pools;
    const SequenceId first = next_id_;
    std::vector<Sequence> choices;
    for (int i = 0; i < num_choices; ++i) {
      Sequence s{.id = next_id_,
                 .first_choice = first,
                 .choice = i,
                 .priority = priority,
                 .tenant = tenant,
                 .weight = 1 + below(3),
                 .cache_salt = salt,
                 .order = next_id_};
      s.sampling = sampling;
      s.sampling.num_prompt_logprobs = wants_prompt && i == 0 ? 0 : -1;
      s.masked = masked;
      s.pooling = pooling;
      s.tokens = prompt;
      s.num_prompt = static_cast<int>(prompt.size());
      requests_[next_id_++] = {.prompt = prompt,
                               .output = {},
                               .sampling = s.sampling,
                               .choice = i,
                               .priority = priority,
                               .tenant = tenant,
                               .salt = salt,
                               .pooling = pooling,
                               .masked = masked};
      choices.push_back(std::move(s));
    }
    add(std::move(choices));
    if (below(6) == 0) {
      const SequenceId leaves = first + static_cast<SequenceId>(below(num_choices));
      clock_.at(clock_.now() + below(400), [this, leaves] { cancel(leaves); });
    }
    plan();
  }

  /// While a request of the lower class waits, one of the better class comes whenever one has ended. (Background work
  /// may wait for ever.)
  void keep_coming() {
    const auto waits = [](const auto& each) { return each.second.priority == 1 && !each.second.finished; };
    if (!floods_ || std::none_of(requests_.begin(), requests_.end(), waits)) return;
    require(++num_flooding_ < kMostFlooding, "a request of the lower class waits for ever");
    const SequenceId id = next_id_++;
    const std::vector<TokenId> prompt = {below(kVocab)};
    const SamplingParams sampling{.temperature = 0, .max_tokens = 1};
    Sequence s{.id = id, .first_choice = id, .tenant = 0, .order = id};
    s.sampling = sampling;
    s.tokens = prompt;
    s.num_prompt = 1;
    requests_[id] = {.prompt = prompt, .output = {}, .sampling = sampling};
    std::vector<Sequence> one;
    one.push_back(std::move(s));
    add(std::move(one));
  }

  void cancel(SequenceId id) {
    const auto found = requests_.find(id);
    require(remove(id) == (found != requests_.end() && !found->second.finished), "cancelled twice, or lost");
    if (found == requests_.end() || found->second.finished) return;
    ++num_cancelled_;
    cancelled_.push_back(std::move(found->second));
    requests_.erase(found);
    require(scheduler().find(id) == nullptr, fmt::format("sequence {} is still here after it was cancelled", id));
    plan();
  }

  // --- rank 0 ---

  void plan() {
    while (!is_down_) {
      const std::optional<MicroBatch> batch = replica_->next(static_cast<double>(clock_.now()));
      check_admissions();
      if (!batch) {
        send_masks();
        return wake_later();
      }
      require(static_cast<int>(batch->tokens.size()) <= options_.max_batch_tokens, "a plan beyond its budget");
      require(scheduler().num_in_flight() <= options_.depth, "more plans in flight than there may be");
      for (int rank = 0; rank < num_stages_; ++rank) {
        send(rank, {.kind = MessageKind::plan, .epoch = epoch_, .number = batch->number, .payload = encode(*batch)});
      }
    }
  }

  void send_masks() {
    while (const std::optional<MaskedRows> wanted = scheduler().next_masked()) {
      StepMasks part{.number = wanted->number, .masks = {}};
      const auto send_part = [&](bool is_last) {
        part.is_last = is_last;
        send(num_stages_ - 1, {.kind = MessageKind::masks, .number = part.number, .payload = encode(part)});
        part.masks.clear();
        ++part.part;
      };
      for (const MaskedRow& row : wanted->rows) {
        const Sequence* sequence = scheduler().find(row.sequence);
        require(sequence != nullptr, "a mask is wanted for a sequence that has ended");
        part.masks.push_back(
            {.slot = row.slot, .generation = row.generation, .allowed = allowed_after(sequence->tokens)});
        if (below(4) == 0) send_part(false);
      }
      send_part(true);
    }
  }

  /// A batch may become due without anything happening.
  void wake_later() {
    const double wake_s = scheduler().wake_s();
    if (wake_s > 1e9) return;
    require(wake_s > static_cast<double>(clock_.now()), "it wants to be woken at once, for ever");
    clock_.at(static_cast<uint64_t>(wake_s), [this] { plan(); });
  }

  /// Requests of one class and tenant start in the order in which they came.
  void check_admissions() {
    for (const SequenceId id : scheduler().take_admitted()) {
      const auto found = requests_.find(id);
      require(found != requests_.end(), "a sequence was admitted that is not here");
      if (found->second.choice > 0 || options_.batching.group_by_length) continue;
      SequenceId& newest = newest_admitted_[{found->second.priority, found->second.tenant}];
      require(id > newest, fmt::format("sequence {} started after {}, which came later", id, newest));
      newest = id;
    }
  }

  void take_result(const ControlMessage& message) {
    if (message.epoch != epoch_) {  // of a rank that does not know yet that its epoch is over
      ++num_late_;
      return;
    }
    if (message.kind == MessageKind::layers_done) {
      replica_->note_layers_done(message.number);
      return plan();
    }
    for (const SequenceUpdate& update :
         replica_->commit(decode_step_result(message.payload), static_cast<double>(clock_.now()))) {
      const auto found = requests_.find(update.sequence);
      require(found != requests_.end(), fmt::format("sequence {} was cancelled and got a token", update.sequence));
      Request& request = found->second;
      require(!request.finished, fmt::format("sequence {} has ended and got a token", update.sequence));
      for (const TokenLogprob& logprob : update.prompt_logprobs) {
        require(logprob.token == request.prompt.at(static_cast<size_t>(++request.prompt_logprobs)),
                "prompt log-probabilities out of order");
      }
      if (request.output.empty()) check_cached(update.num_cached, update.sequence, request);
      if (!update.pooled.empty()) {
        check_vector(update, request);
        keep_coming();
      }
      if (!update.token) continue;
      request.output.push_back(update.token->token);
      ++num_tokens_;
      if (!update.finish) continue;
      check_finished(update.sequence, request);
      keep_coming();
    }
    plan();
  }

  /// What was found in the cache, others with the same salt have put there.
  void check_cached(int num_cached, SequenceId id, const Request& request) const {
    int most = 0;
    const auto compare = [&](const Request& other) {
      if (other.salt != request.salt) return;
      std::vector<TokenId> tokens = other.prompt;
      tokens.insert(tokens.end(), other.output.begin(), other.output.end());
      const auto end = std::mismatch(tokens.begin(), tokens.end(), request.prompt.begin(), request.prompt.end()).first;
      most = std::max(most, static_cast<int>(end - tokens.begin()));
    };
    for (const auto& [other, one] : requests_) {
      if (other != id) compare(one);
    }
    for (const Request& one : cancelled_) compare(one);
    require(num_cached <= most,
            fmt::format("sequence {} found {} tokens in the cache; {} may be there", id, num_cached, most));
  }

  void check_vector(const SequenceUpdate& update, Request& request) {
    request.finished = true;
    ++num_vectors_;
    require(request.pooling != Pooling::none && update.finish == FinishReason::stop && !update.token,
            fmt::format("sequence {} got a vector, which it did not ask for", update.sequence));
    require(request.pooling != Pooling::mean || update.num_cached == 0, "a mean without the cached positions");
    require(update.pooled == pooled_alone(request.prompt, request.pooling, num_stages_),
            fmt::format("sequence {} got another vector than it gets alone", update.sequence));
  }

  void check_finished(SequenceId id, Request& request) {
    request.finished = true;
    const std::vector<TokenId> expected =
        tokens_alone(request.prompt, request.sampling, request.choice, request.masked, num_stages_);
    require(request.output == expected, fmt::format("sequence {} got {} tokens, not the {} it gets alone", id,
                                                    request.output.size(), expected.size()));
    const int due = request.sampling.num_prompt_logprobs >= 0 ? static_cast<int>(request.prompt.size()) - 1 : 0;
    require(request.prompt_logprobs == due, "prompt log-probabilities are missing");
  }

  // --- links: `link` is the rank a plan goes to, or num_stages_ for what comes back ---

  void send(int link, ControlMessage message) {
    Wire& wire = wires_[link];
    std::vector<std::byte> bytes = encode_frame(message, kJob);
    const bool faulty = link == faulty_link_ && ++wire.num_sent == faulty_message_ && fault_ != Fault::none;
    fault_happened_ = fault_happened_ || faulty;
    if (faulty && fault_ == Fault::lost) return;
    if (faulty && fault_ == Fault::swapped) {
      wire.held_back = std::move(bytes);
      return;
    }
    if (faulty && fault_ == Fault::corrupted) {
      bytes[static_cast<size_t>(below(static_cast<int64_t>(bytes.size())))] ^= static_cast<std::byte>(1 << below(8));
    }
    if (faulty && fault_ == Fault::repeated) deliver(link, bytes);
    deliver(link, std::move(bytes));
    if (!wire.held_back.empty()) deliver(link, std::exchange(wire.held_back, {}));
  }

  void deliver(int link, std::vector<std::byte> bytes) {
    Wire& wire = wires_[link];
    wire.last_arrival = std::max(wire.last_arrival, clock_.now() + static_cast<uint64_t>(below(12)));
    clock_.at(wire.last_arrival, [this, link, epoch = epoch_, bytes = std::move(bytes)] {
      if (link < num_stages_ && epoch != epoch_) return;
      FrameDecoder& decoder = link == num_stages_ ? decoder_ : ranks_[static_cast<size_t>(link)]->decoder;
      std::vector<ControlMessage> messages;
      if (!decoder.feed(bytes, messages)) throw WireError(decoder.error());
      for (ControlMessage& message : messages) {
        if (link == num_stages_) {
          take_result(message);
        } else {
          Rank& rank = *ranks_[static_cast<size_t>(link)];
          (message.kind == MessageKind::masks ? rank.masks : rank.plans).push_back(std::move(message));
          run_rank(link);
        }
      }
    });
  }

  // --- ranks ---

  /// Nothing when the rank has to wait for some.
  std::optional<std::vector<std::vector<std::byte>>> masks_for_next(int index) {
    Rank& rank = *ranks_[static_cast<size_t>(index)];
    std::vector<std::vector<std::byte>> masks;
    if (index + 1 < num_stages_ || !rank.rank.waits_for_masks(rank.plans.front().payload)) return masks;
    const auto is_last = [](const ControlMessage& each) { return decode_step_masks(each.payload, kVocab).is_last; };
    const auto last = std::find_if(rank.masks.begin(), rank.masks.end(), is_last);
    if (last == rank.masks.end()) return std::nullopt;
    for (auto each = rank.masks.begin(); each != last + 1; ++each) masks.push_back(std::move(each->payload));
    rank.masks.erase(rank.masks.begin(), last + 1);
    return masks;
  }

  void run_rank(int index) {
    Rank& rank = *ranks_[static_cast<size_t>(index)];
    if (rank.busy || rank.plans.empty() || (index > 0 && rank.num_inputs == 0)) return;
    const std::optional<std::vector<std::vector<std::byte>>> masks = masks_for_next(index);
    if (!masks) return;
    const ControlMessage plan = std::move(rank.plans.front());
    rank.plans.pop_front();
    if (index > 0) --rank.num_inputs;
    rank.busy = true;
    const int ticks = rank.pace * (1 + below(10));
    // What a stage says of its time is anything at all now and then.
    const std::vector<std::byte> result =
        rank.rank.run(plan.payload, *masks, 1'000'000 * static_cast<uint32_t>(below(8) == 0 ? below(4000) : ticks));
    const uint64_t done = clock_.now() + static_cast<uint64_t>(ticks);
    const uint32_t epoch = epoch_;
    if (options_.feed_back) {
      clock_.at((clock_.now() + done) / 2, [this, epoch, number = plan.number] {
        send(num_stages_, {.kind = MessageKind::layers_done, .epoch = epoch, .number = number, .payload = {}});
      });
    }
    clock_.at(done, [this, index, epoch, number = plan.number, result] {
      if (epoch != epoch_) {
        if (index + 1 == num_stages_)
          send(num_stages_, {.kind = MessageKind::result, .epoch = epoch, .number = number, .payload = result});
        return;
      }
      ranks_[static_cast<size_t>(index)]->busy = false;
      if (index + 1 < num_stages_) {
        const uint64_t arrival = clock_.now() + static_cast<uint64_t>(below(6));
        uint64_t& last = last_input_[index + 1];
        last = std::max(last, arrival);
        clock_.at(last, [this, index, epoch] {
          if (epoch != epoch_) return;
          ++ranks_[static_cast<size_t>(index) + 1]->num_inputs;
          run_rank(index + 1);
        });
      } else {
        send(num_stages_, {.kind = MessageKind::result, .epoch = epoch, .number = number, .payload = result});
      }
      run_rank(index);
    });
  }

  // --- what must hold ---

  void check_now() const { scheduler().check_integrity(); }

  void check_end() const {
    // Heartbeats end such a wait in a server: behind half a frame they are not understood either, so the peer is
    // silent.
    bool may_wait = fault_happened_ && (fault_ == Fault::lost || fault_ == Fault::swapped);
    may_wait = may_wait || decoder_.num_pending_bytes() > 0;
    for (const auto& rank : ranks_) may_wait = may_wait || rank->decoder.num_pending_bytes() > 0;
    require(!may_wait || fault_happened_, "half a message came");
    if (may_wait && !scheduler().is_idle()) return;
    require(scheduler().is_idle(), "something is left to do, and nothing happens");
    for (const auto& [id, request] : requests_) require(request.finished, fmt::format("sequence {} has no end", id));
    require(scheduler().pool().num_free() == options_.num_blocks, "blocks are held");
    require(scheduler().num_free_slots() == options_.max_num_seqs, "slots are held");
  }

  std::mt19937_64 random_;
  const Fault fault_;
  int num_stages_ = 1;
  SchedulerOptions options_;
  uint32_t epoch_ = 0;
  std::unique_ptr<Replica> replica_;
  std::vector<std::vector<Sequence>> held_;  ///< while nobody serves
  bool is_down_ = false;
  uint64_t num_preemptions_ = 0, num_cached_ = 0, num_plans_ = 0, num_late_ = 0, num_losses_ = 0;
  VirtualClock<uint64_t> clock_;
  Streams streams_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::map<int, Wire> wires_;
  std::map<int, uint64_t> last_input_;
  FrameDecoder decoder_{kJob, kMaxPayloadBytes};
  int faulty_link_ = 0, faulty_message_ = 0;
  bool fault_happened_ = false;
  bool floods_ = false;
  int num_flooding_ = 0;

  std::vector<TokenId> common_prompt_;
  std::map<SequenceId, Request> requests_;  ///< but for those that were cancelled
  std::vector<Request> cancelled_;
  std::map<std::pair<int, TenantId>, SequenceId> newest_admitted_;
  SequenceId next_id_ = 1;
  uint64_t num_tokens_ = 0, num_vectors_ = 0, num_cancelled_ = 0;
};

}  // namespace

Outcome simulate(uint64_t seed, Fault fault) { return Simulation(seed, fault).run(); }

}  // namespace echelon::simulation
