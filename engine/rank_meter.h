// What one rank measures of itself while it serves: where its time goes, what its micro-batches need at least, and what
// its processors reach at best. The rank's main thread only.
#pragma once

#include <deque>
#include <optional>

#include "engine/engine_options.h"
#include "engine/planner/cost_model.h"
#include "engine/planner/host_ceiling.h"
#include "engine/rank_messages.h"
#include "engine/schedule/micro_batch.h"
#include "engine/stage/stage_clock.h"

namespace echelon {

class RankMeter {
 public:
  /// For the stage and its exchanges to count in.
  StageClock& clock() { return clock_; }
  void set_profile(StageProfile profile) { profile_ = std::move(profile); }

  void note_plan_wait(double seconds) { clock_.wait.plan += seconds; }
  /// After the stage has run it. A few nanoseconds for each row of the plan.
  void note_ran(const MicroBatch& batch);

  /// Is there a ceiling to be measured when there is nothing to do? At once until each is known; after that, when the
  /// rank has computed, a few times more: other ranks of the host may have worked the first time. The best is kept.
  bool wants_to_measure() const;
  bool has_ceiling() const { return measurement_ && measurement_->num_steps_done() >= CeilingMeasurement::kNumSteps; }
  /// One of the ceilings: takes 10 to 100 ms of the rank's threads, and up to 128 MiB; none is measured where the host
  /// has not four times as much free for each of its ranks. A plan that comes meanwhile waits.
  void measure_ceiling(const EngineOptions& options, int ranks_on_host);

  /// Fills in the rank's own measures and the micro-batches since the report before.
  void report(RankStatus& status);

 private:
  StageClock clock_;
  std::optional<StageProfile> profile_;
  StageWork work_, ceiling_;
  std::optional<CeilingMeasurement> measurement_;
  bool may_measure_ = true;
  std::deque<StageSpan> spans_;  ///< since the last report, at most kMaxSpans
  std::vector<RowGroup> rows_;
};

}  // namespace echelon
