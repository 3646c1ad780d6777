// One stage of the pipeline at work on one rank: plan in, hidden state from the stage before, layers, hidden state to
// the stage after; the last stage's first part samples, or pools. Plans are run in the order of their numbers.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "engine/model/layer_runner.h"
#include "engine/sample/sampler.h"
#include "engine/schedule/micro_batch.h"
#include "engine/schedule/step_masks.h"
#include "engine/stage/pooler.h"
#include "engine/stage/slot_table.h"
#include "engine/stage/stage_clock.h"
#include "parallel/communicator.h"

namespace echelon {

/// The ranks before and after this one in its replica's group, -1 at the ends; and the parts of this stage, null when
/// there is one.
struct Neighbours {
  Communicator* replica = nullptr;
  int previous = -1, next = -1;
  Communicator* parts = nullptr;
};

class Stage {
 public:
  /// All borrowed. is_sampler: this rank is part 0 of the last stage.
  Stage(LayerRunner& layers, const SlotLimits& limits, Neighbours neighbours, bool is_last, bool is_sampler,
        int64_t vocab, std::vector<TokenId> end_tokens, StageClock& clock);

  /// Runs one micro-batch. The result on the sampler, nothing elsewhere; there layers_done() is called before the
  /// logits are computed, and masks() when the micro-batch has masked rows: it waits for those of this micro-batch.
  /// Throws WireError, CommunicatorError.
  std::optional<StepResult> run(const MicroBatch& batch, const std::function<void()>& layers_done = {},
                                const std::function<std::vector<RowMask>()>& masks = {});

 private:
  struct Wanted;
  void put_in_fed_back(const MicroBatch& batch);
  std::vector<Wanted> wanted_rows(const MicroBatch& batch, std::span<const Segment> segments) const;
  void take_masks(const MicroBatch& batch, const std::vector<RowMask>& masks);
  void choose(const MicroBatch& batch, std::span<Wanted> wanted);
  void take(Wanted want, const PlanRow& row, RowResult& answer);
  StepResult answer(const MicroBatch& batch, std::span<const Segment> segments);

  LayerRunner& layers_;
  SlotTable slots_;
  Neighbours neighbours_;
  bool is_last_, is_sampler_;
  int64_t vocab_;
  std::vector<Sampler> samplers_;  ///< one for each host thread
  Pooler pooler_;
  std::vector<TokenId> tokens_;  ///< of the micro-batch, those fed back put in
  std::vector<TokenId> fed_back_;
  std::vector<const TokenMask*> masks_;  ///< of every row of the micro-batch; null: any token
  StageClock& clock_;
};

}  // namespace echelon
