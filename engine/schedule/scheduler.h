// Which tokens run next. Pure planning over plain data: no clock, no transport, no model, no thread.
//
// next() plans one micro-batch: running sequences with a token to run (decodes, spread evenly over the micro-batches in
// flight), then chunks of prompts, then new sequences (in the order of WaitingQueue), within a budget of tokens, with
// blocks from the pool. Prompts are cut by the time they take (StepCost): to the ITL target beside decodes, and evenly
// over micro-batches in flight. commit() takes the last stage's answer. Up to `depth` micro-batches are in flight;
// chunks of one prompt may follow each other. With `feed_back` (one stage) so may decodes of one sequence: the ranks
// put in the token that was sampled before; the rows behind one that ends its sequence are ignored, like those of a
// sequence that was removed.
//
// Invariants: without `feed_back` a sequence samples in at most one micro-batch in flight; a waiting sequence holds no
// block and no slot; a block freed while planning number k may be used by number k + 1, because every rank runs plans
// in order; the oldest sequence of the best class is never preempted for another, so there is no livelock.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/cache/block_pool.h"
#include "engine/schedule/batch_gate.h"
#include "engine/schedule/micro_batch.h"
#include "engine/schedule/sequence.h"
#include "engine/schedule/step_cost.h"
#include "engine/schedule/waiting_queue.h"

namespace echelon {

inline int blocks_for(int64_t num_tokens) { return static_cast<int>((num_tokens + kBlockTokens - 1) / kBlockTokens); }

struct SchedulerOptions {
  int num_blocks = 0;
  int max_num_seqs = 64;       ///< slots: sequences that run at a time
  int max_batch_tokens = 512;  ///< of one micro-batch
  int depth = 1;               ///< micro-batches in flight at most
  bool feed_back = false;      ///< micro-batches run one after the other: plan tokens that are not known yet
  bool prefix_cache = true;
  double itl_target_s = 0;  ///< longest time between two tokens that prompts may cause; 0: any
  double prefix_ttl_s = 0;  ///< cached blocks are forgotten when not used for so long; 0: never
  BatchingOptions batching;
  uint32_t epoch = 0;               ///< of what is planned
  std::vector<TokenId> end_tokens;  ///< end of generation
  int64_t vocab = kMaxVocab;        ///< tokens of results lie below
  int64_t hidden = 0;               ///< pooled vectors of results have so many values
};

/// What became of one sequence in a commit.
struct SequenceUpdate {
  SequenceId sequence = 0;
  int num_cached = 0;
  std::vector<TokenLogprob> prompt_logprobs;
  std::optional<OutputToken> token;
  std::vector<float> pooled;           ///< with the end of a sequence that pools
  std::optional<FinishReason> finish;  ///< the sequence is gone from the scheduler
  std::optional<TokenId> stop_token;
};

/// A row whose token a grammar has to allow.
struct MaskedRow {
  SequenceId sequence = 0;
  int32_t slot = 0;
  uint32_t generation = 0;
  int position = 0;  ///< of the token to be sampled
};

/// Those of one micro-batch, in the order of its rows.
struct MaskedRows {
  uint32_t epoch = 0;
  uint64_t number = 0;
  std::vector<MaskedRow> rows;
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options);

  /// The choices of one request, choice 0 first; what another scheduler has sampled of them is kept. The prompt and its
  /// output must fit the pool (checked: the engine refuses others).
  void add(std::vector<Sequence> choices);
  /// Everything leaves, as it would begin again elsewhere: by request, in the order of arrival. What is in flight is
  /// forgotten. Nothing else may be called after this but what counts.
  std::vector<std::vector<Sequence>> take_all();
  /// Ends a sequence at once; its rows in flight are ignored when they come back. False when it is not here any more.
  bool remove(SequenceId id);

  /// What comes now shares no prefix with what has been.
  void reset_prefix_cache() { pool_.forget_all(); }

  /// Time for prefix_ttl_s and batching, in seconds of any clock that only goes forward.
  void set_time(double now_s);
  /// When next() may have something to do though nothing has happened since set_time(); infinity: it will not.
  double wake_s() const { return gate_.wake_s(waiting_, now_s_); }
  /// Nothing when all is in flight, or there is nothing to do, or `depth` micro-batches are in flight.
  std::optional<MicroBatch> next();
  /// Results come in the order of their numbers (checked: throws WireError for one that was not planned).
  std::vector<SequenceUpdate> commit(const StepResult& result);

  /// The next micro-batch whose masks can be worked out, because all tokens before those it samples are known, and
  /// which waits for them. Rows of sequences that have ended are left out; a micro-batch may have none left.
  std::optional<MaskedRows> next_masked();

  /// Sequences that left the queue for the first time since the last call.
  std::vector<SequenceId> take_admitted() { return std::exchange(admitted_, {}); }

  uint64_t last_number() const { return next_number_ - 1; }  ///< of the micro-batch planned last
  int num_in_flight() const { return static_cast<int>(in_flight_.size()); }
  int num_running() const { return static_cast<int>(running_.size()); }
  int num_waiting() const { return static_cast<int>(waiting_.size()); }
  bool is_idle() const { return sequences_.empty() && in_flight_.empty(); }
  uint64_t num_preemptions() const { return num_preemptions_; }
  uint64_t num_prefix_queries() const { return num_prefix_queries_; }
  uint64_t num_prefix_hits() const { return num_prefix_hits_; }  ///< tokens
  const StepCost& cost() const { return cost_; }
  const BlockPool& pool() const { return pool_; }
  int num_free_slots() const { return static_cast<int>(free_slots_.size()); }
  const SchedulerOptions& options() const { return options_; }
  /// Tokens still to run over all sequences: how loaded this replica is.
  int64_t load() const;
  /// Of the beginning of a prompt, that the prefix cache holds now.
  int num_cached_tokens(std::span<const TokenId> prompt, uint64_t cache_salt) const;
  const Sequence* find(SequenceId id) const;
  /// Aborts when an invariant does not hold. O(blocks + sequences).
  void check_integrity() const;

 private:
  struct InFlightRow {
    SequenceId sequence = 0;
    int slot = 0;
    uint32_t generation = 0;
    bool sample = false, pool = false;
    int num_targets = 0;
    bool has_answer() const { return sample || pool || num_targets > 0; }
  };
  struct InFlight {
    uint64_t number = 0;
    StepShape shape;
    std::vector<InFlightRow> rows;
  };
  struct Draft;  ///< scheduler_plan.cc: the micro-batch being planned

  /// Returns how many sequences decode, in this micro-batch or another.
  int plan_decodes(Draft& draft);
  void plan_prefills(Draft& draft);
  void plan_background(Draft& draft);
  void admit_waiting(Draft& draft);
  bool has_place_for(const Sequence& sequence) const;
  void make_way(const Sequence& sequence, const Draft& draft);
  bool may_start(const Sequence& sequence) const;
  static bool has_room_for(const Sequence& sequence, const Draft& draft);
  static bool runs_whole_prompt(const Sequence& sequence);
  static void add_targets(const Sequence& sequence, PlanRow& row, Draft& draft);
  void admit(Sequence& sequence, Draft& draft);
  void take_cached_blocks(Sequence& sequence);
  bool add_row(Sequence& sequence, int num_tokens, Draft& draft, bool is_admission = false);
  int num_free_needed(const Sequence& sequence) const;
  int num_shareable(const Sequence& sequence) const;
  bool reserve_blocks(Sequence& sequence, int num_tokens, Draft& draft);
  Sequence* choose_victim(const Draft& draft) const;
  void preempt(Sequence& sequence);
  void release(Sequence& sequence);
  void publish_full_blocks(Sequence& sequence);
  void share_prompts(Draft& draft);
  void hold_itl_target(Draft& draft);
  int chunk_of(const Sequence& sequence, const Draft& draft) const;
  /// Micro-batches that run at a time, in different stages.
  int num_parallel() const { return options_.feed_back ? 1 : options_.depth; }
  void check_fits(const InFlight& record, const StepResult& result) const;
  void take_token(Sequence& sequence, const OutputToken& token, SequenceUpdate& update);
  void take_vector(const std::vector<float>& pooled, SequenceUpdate& update) const;
  std::optional<FinishReason> finish_reason(const Sequence& sequence, TokenId token) const;

  SchedulerOptions options_;
  BlockPool pool_;
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  WaitingQueue waiting_;
  BatchGate gate_;
  std::vector<Sequence*> running_;
  std::vector<int> free_slots_;
  std::vector<uint32_t> generations_;  ///< of every slot
  std::deque<InFlight> in_flight_;
  std::deque<MaskedRows> masked_;  ///< micro-batches that wait for masks
  StepCost cost_;
  std::vector<SequenceId> admitted_;
  double now_s_ = 0;
  double forgot_s_ = 0;  ///< when old prefixes were last looked for
  uint64_t next_number_ = 1;
  uint64_t num_preemptions_ = 0, num_prefix_queries_ = 0, num_prefix_hits_ = 0;
};

}  // namespace echelon
