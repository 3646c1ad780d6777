// From the final hidden states of a prompt to one vector: what the last stage answers in place of a token. Sums are
// float64, in the order of positions, kept for each slot from chunk to chunk, so that no bit depends on chunks.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/layer_runner.h"
#include "engine/schedule/micro_batch.h"

namespace echelon {

class Pooler {
 public:
  /// `layers` is borrowed.
  Pooler(LayerRunner& layers, int num_slots) : layers_(layers), sums_(static_cast<size_t>(num_slots)) {}

  /// When the layers have run: takes what the plan row wants of its hidden states, `first_row` of the micro-batch and
  /// those behind it. The vector when it pools, else nothing. Throws WireError for a sum that leaves out a position.
  std::vector<float> take(const PlanRow& row, int first_row);

 private:
  struct Sum {
    uint32_t generation = 0;
    int32_t count = 0;  ///< of positions, from 0 on
    std::vector<double> values;
  };
  void add(const PlanRow& row, int first_row, Sum& sum);

  LayerRunner& layers_;
  std::vector<Sum> sums_;  ///< of every slot
};

}  // namespace echelon
