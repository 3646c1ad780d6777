// What a stage of the pipeline computes with: the layers of one rank. StageModel (stage_model.h) in a server; layers
// that only sleep in the benchmark of the pipeline itself.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "kernels/backend.h"

namespace echelon {

/// Sequences' rows of one micro-batch, side by side.
struct BatchView {
  std::span<const TokenId> tokens;    ///< one a row
  std::span<const Segment> segments;  ///< cover the rows in order
  int num_rows() const { return static_cast<int>(tokens.size()); }
};

/// Rows of logits, or of final hidden states, computed at a time: bounds the memory for prompt log-probabilities.
inline constexpr int kLogitRows = 32;

/// Tensor-parallel ranks call the same functions in the same order.
class LayerRunner {
 public:
  virtual ~LayerRunner() = default;
  /// Writes the residual stream from the tokens. First stage only.
  virtual void embed(const BatchView& batch) = 0;
  virtual void run_layers(const BatchView& batch) = 0;
  /// Logits over the whole vocabulary of the given rows (at most kLogitRows) on part 0 of the tensor group, in host
  /// memory, valid until the next call; the other parts get an empty span. Last stage only. Rows lie vocab floats
  /// apart.
  virtual std::span<const float> logits(std::span<const int> rows) = 0;
  /// What the LM head takes of the given rows (at most kLogitRows): the residual stream behind the final norm, [rows,
  /// hidden], in host memory, valid until the next call. Last stage only; every part has it, and calls it or not.
  virtual std::span<const float> final_hidden(std::span<const int> rows) = 0;
  /// Host threads for work on logits, and f(part) for every part in [0, num_parts) on them.
  virtual int num_host_threads() const { return 1; }
  virtual void run_on_host(int num_parts, const std::function<void(int)>& f) {
    for (int part = 0; part < num_parts; ++part) f(part);
  }
  /// The residual stream [rows, hidden], to send to the next stage or to receive from the one before.
  virtual std::span<std::byte> hidden_bytes(int rows) = 0;
};

}  // namespace echelon
