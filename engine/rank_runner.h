// One rank from start to end: waits for its place, loads what the place needs, runs plans in order, and waits again
// when its epoch is over. The same on every rank, rank 0 included; it hears of everything through the control channel.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "engine/engine_options.h"
#include "engine/rank_messages.h"
#include "engine/rank_meter.h"
#include "engine/stage/stage.h"
#include "parallel/communicator.h"
#include "parallel/control_channel.h"

namespace echelon {

struct RankSelf {
  int rank = 0;  ///< in the job
  int num_ranks = 1;
  std::string host;
};

class RankRunner {
 public:
  RankRunner(const EngineOptions& options, RankSelf self, MakeGroup make_group, ControlChannel& control);
  ~RankRunner();

  /// From the control channel's thread: assignments, start orders, plans, masks, fences, stop.
  void push(ControlMessage message);
  /// Ends run() with an Error that has this reason.
  void abandon(const std::string& reason);
  /// Returns after a stop message. Throws Error for anything that ends this rank.
  void run();

 private:
  struct Loaded;
  struct Groups;
  class EpochOver {};  ///< thrown where this rank works or waits in an epoch that has been fenced

  std::optional<Assignment> wait_for_assignment();
  void serve(const Assignment& assignment);
  void enter(uint32_t epoch);
  void leave();
  void open(const Assignment& assignment);
  void read_weights();
  std::unique_ptr<Groups> make_groups(const Assignment& assignment);
  StartOrder wait_for_start();
  void prepare_model(const StartOrder& order);
  void run_plans(const Assignment& assignment, const StartOrder& order, Groups& groups);
  void run_plan(Stage& stage, const MicroBatch& batch, bool plans_ahead);
  void idle_work(bool first_measures);
  void report_broken(const std::string& cause);

  void check_epoch();
  std::optional<ControlMessage> next_message(int timeout_ms);
  std::vector<RowMask> wait_for_masks(uint64_t number, int64_t vocab);
  void send_status(RankPhase phase, double loaded_share);

  const EngineOptions options_;
  const RankSelf self_;
  const MakeGroup make_group_;
  ControlChannel& control_;
  RankStatus status_;
  RankMeter meter_;
  std::unique_ptr<Loaded> loaded_;
  int ranks_on_host_ = 1;
  uint32_t epoch_ = 0;  ///< that this rank is in; 0: none. Written by run() under mutex_

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ControlMessage> inbox_;  // guarded by mutex_
  std::deque<ControlMessage> masks_;  // guarded by mutex_; they may come before or after their micro-batch is run
  std::string abandoned_;             // guarded by mutex_
  std::string fence_reason_;          // guarded by mutex_
  uint32_t fenced_ = 0;               // guarded by mutex_; this epoch and those before it are over
  std::stop_source epoch_stop_;       // guarded by mutex_; of epoch_
  Groups* groups_ = nullptr;          // guarded by mutex_; of epoch_
};

}  // namespace echelon
