// One rank's part of a replica from start to end: opens the model, says what fits, loads its weights, then runs plans
// in order. The same on every rank, rank 0 included; it hears of everything through the control channel.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/engine_options.h"
#include "engine/rank_messages.h"
#include "engine/rank_meter.h"
#include "engine/stage/stage.h"
#include "parallel/communicator.h"
#include "parallel/control_channel.h"
#include "parallel/layout.h"

namespace echelon {

struct RankPlace {
  int rank = 0;  ///< in the job
  std::string host;
  int ranks_on_host = 1;
};

class RankRunner {
 public:
  /// All borrowed. tensor_group and replica_group are this rank's, in the order of Layout::tensor_group and
  /// Layout::replica.
  RankRunner(const EngineOptions& options, const Layout& layout, RankPlace place, Communicator& tensor_group,
             Communicator& replica_group, ControlChannel& control);

  /// From the control channel's thread: plans, the start order, stop.
  void push(ControlMessage message);
  /// Ends run() with an Error that has this reason.
  void abandon(const std::string& reason);
  /// Returns after a stop message. Throws Error for anything that ends this rank.
  void run();

 private:
  struct Loaded;
  std::unique_ptr<Loaded> load();
  std::optional<ControlMessage> next_message(int timeout_ms);
  std::vector<RowMask> wait_for_masks(uint64_t number, int64_t vocab);
  void run_plans(Loaded& loaded);
  void send_status(RankPhase phase, double loaded_share);

  EngineOptions options_;
  const Layout& layout_;
  RankPlace place_;
  Communicator& tensor_group_;
  Communicator& replica_group_;
  ControlChannel& control_;
  RankStatus status_;
  RankMeter meter_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ControlMessage> inbox_;  // guarded by mutex_
  std::deque<ControlMessage> masks_;  // guarded by mutex_; they may come before or after their micro-batch is run
  std::string abandoned_;             // guarded by mutex_
};

}  // namespace echelon
