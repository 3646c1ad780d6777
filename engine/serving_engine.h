// The engine of a running job, on rank 0: takes requests from the front end, plans for every replica, hands plans to
// the ranks and tokens back to the listeners. One thread of its own; all else comes in through an inbox.
//
//   thread            calls
//   any               submit, cancel, stop_choice, drain, state, model, metrics
//   control channel   on_message, on_lost
//   the engine's own  everything private
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/deadlines.h"
#include "engine/engine.h"
#include "engine/engine_options.h"
#include "engine/grammar/grammar.h"
#include "engine/model/open_model.h"
#include "engine/pipeline_monitor.h"
#include "engine/rank_messages.h"
#include "engine/roster.h"
#include "engine/schedule/placement.h"
#include "engine/schedule/replica.h"
#include "parallel/control_channel.h"
#include "parallel/layout.h"

namespace echelon {

class ServingEngine final : public Engine {
 public:
  /// Called from the engine's thread, each at most once: when requests are taken, and when the job cannot go on.
  struct Callbacks {
    std::function<void()> on_ready;
    std::function<void(const std::string& reason)> on_failure;
  };
  /// control is borrowed. host_of_rank as in Layout, of all ranks of the job: those beyond the layout's are spares.
  ServingEngine(EngineOptions options, const Layout& layout, const std::vector<int>& host_of_rank,
                ControlChannel& control, Callbacks callbacks);
  ~ServingEngine() override;

  void start();
  /// No new requests; when the last one has finished the ranks are told to stop and the state becomes stopped.
  void drain();
  void wait_until_stopped();
  /// Ranks that did not live to the end. After that.
  std::vector<int> lost_ranks() const { return roster_.lost(); }

  // From the control channel.
  void on_message(int rank, ControlMessage message);
  void on_lost(int rank, const std::string& reason);

  EngineState state() const override;
  std::string state_reason() const override;
  std::shared_ptr<const ModelInfo> model() const override;
  bool is_alive() const override;
  RequestResult<RequestHandle> submit(Request request, std::shared_ptr<RequestListener> listener) override;
  void cancel(RequestHandle handle) override;
  void stop_choice(RequestHandle handle, int choice) override;
  void reset_prefix_cache() override;
  EngineMetrics metrics() const override;
  std::vector<TracedMicroBatch> pipeline() const override;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kHeld = -1;  // no replica has it
  struct ActiveRequest;
  struct ActiveChoice {
    ActiveRequest* request = nullptr;
    int index = 0;
    int replica = kHeld;
    int num_interruptions = 0;  // since its last token
    bool started = false;
    Clock::time_point last_token;
    std::vector<TokenLogprob> prompt_logprobs;
    std::unique_ptr<Matcher> matcher;  // of the request's grammar
  };
  struct ActiveRequest {
    RequestHandle handle = 0;
    Request request;
    std::shared_ptr<RequestListener> listener;
    std::vector<SequenceId> sequences;  // by choice; 0 when it has ended
    int num_open = 0;
    bool started = false;  // a choice was in a micro-batch
    double queue_seconds = -1;
    Clock::time_point start_by = Clock::time_point::max(), finish_by = Clock::time_point::max();
  };
  struct Event {
    enum class Kind { submit, cancel, stop_choice, reset_prefixes, message, lost, drain } kind{};
    RequestHandle handle = 0;
    int number = 0;  // choice or rank
    Request request;
    std::shared_ptr<RequestListener> listener;
    ControlMessage message;
    std::string reason;
  };

  void post(Event event);
  void run();
  void run_loop();
  Clock::time_point next_wake() const;
  void load();
  void handle(Event& event);
  void handle_submit(Event& event);
  void handle_message(int rank, const ControlMessage& message);
  void handle_result(Replica& replica, const ControlMessage& message);
  void place(std::vector<Sequence> choices);
  void drop_held(SequenceId id);

  // serving_repair.cc: who serves.
  void assign(int replica);
  void handle_status(int rank, const ControlMessage& message);
  void go_on_with(int replica);
  void begin_first();
  void begin_again(int replica);
  void order_start(int replica, int64_t num_blocks);
  void begin_serving(int replica);
  std::optional<int> serving_replica_of(int rank, uint32_t epoch) const;
  std::optional<int64_t> room_of(const std::vector<int>& ranks, std::string& refusal) const;
  std::string describe(const Roster::Team& team) const;
  std::optional<LayoutSizes> sizes_for(const std::vector<int>& ranks) const;
  void handle_lost(int rank, const std::string& reason);
  void give_up(int rank, const std::string& reason);
  void handle_broken(int rank, uint32_t epoch, const std::string& reason);
  void break_up(int replica, const std::string& reason);
  void repair(const std::string& reason);
  void look_for_stalls();
  std::string late_rank(int replica, uint64_t number) const;
  void tell_state();
  bool all_replicas(const std::function<bool(int)>& holds) const;

  void plan();
  void send_masks();
  void apply(const SequenceUpdate& update);
  void end_choice(SequenceId id, FinishReason reason, std::optional<RequestError> refusal = std::nullopt);
  void end_request(RequestHandle handle);
  void set_deadlines(ActiveRequest& request);
  void expire();
  void stop_when_drained();
  void deliver();
  void abort_all(const std::string& message);
  void fail(const std::string& reason);
  void set_state(EngineState state, const std::string& reason);
  void publish_metrics();
  std::optional<RequestError> refusal(const Request& request) const;

  /// What is known of a replica's team since it was assigned.
  struct TeamState {
    bool told_to_start = false;
    int64_t num_blocks = 0;       // that it was told
    Clock::time_point broken_at;  // when it served last
  };

  const EngineOptions options_;
  const int max_unfinished_;
  const std::vector<int> host_of_rank_;
  ControlChannel& control_;
  Callbacks callbacks_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> inbox_;                   // guarded by mutex_
  EngineState state_ = EngineState::loading;  // guarded by mutex_
  std::string reason_ = "starting";           // guarded by mutex_
  std::shared_ptr<const ModelInfo> model_;    // guarded by mutex_
  EngineMetrics published_;                   // guarded by mutex_
  std::atomic<int> num_unfinished_{0};        // choices submitted and not ended
  std::atomic<uint64_t> next_handle_{1};
  std::atomic<bool> any_in_flight_{false};
  std::atomic<int64_t> last_progress_ms_{0};

  // The engine's thread only.
  std::vector<std::unique_ptr<Replica>> replicas_;  // null while it does not serve
  Placement placement_;
  Roster roster_;
  std::vector<TeamState> teams_;             // by replica
  std::vector<RankStatus> statuses_;         // by rank
  std::vector<uint32_t> status_epochs_;      // of them
  std::vector<Clock::time_point> heard_;     // of its main thread, by rank
  std::deque<Event> taken_;                  // from the inbox, and not handled yet
  std::vector<std::vector<Sequence>> held_;  // by request: until a replica serves
  std::optional<OpenModel> open_;            // headers, to choose layouts
  std::vector<TokenId> end_tokens_;
  bool ever_ready_ = false, draining_ = false, stopped_ = false;
  int num_repairs_in_a_row_ = 0;
  std::string repair_reason_;  // of the last
  std::unordered_map<RequestHandle, std::unique_ptr<ActiveRequest>> requests_;
  std::unordered_map<SequenceId, ActiveChoice> choices_;
  Deadlines deadlines_;
  std::vector<std::pair<std::shared_ptr<RequestListener>, OutputEvent>> outputs_;  // to be handed to listeners
  SequenceId next_sequence_ = 1;
  uint64_t next_order_ = 1;
  EngineMetrics metrics_;
  PipelineMonitor monitor_;  // but its trace(): any thread
  std::thread thread_;
};

}  // namespace echelon
