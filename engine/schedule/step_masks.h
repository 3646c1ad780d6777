// Which tokens the rows of a micro-batch may sample, where a grammar says so: rank 0 works it out while the layers run
// and sends it after the plan, to the rank that samples.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/token_mask.h"

namespace echelon {

struct RowMask {
  int32_t slot = 0;
  uint32_t generation = 0;
  TokenMask allowed;  ///< of the width of the logits
};

struct StepMasks {
  uint32_t epoch = 0;
  uint64_t number = 0;  ///< of the micro-batch
  /// More masks than fit into one message come in several, numbered from 0.
  uint32_t part = 0;
  bool is_last = true;
  std::vector<RowMask> masks;  ///< in the order of the rows; sequences that have ended have none
};

/// Masks of one message take at most so many bytes, unless there is only one.
inline constexpr size_t kMaxMasksBytes = size_t{8} << 20;

/// Puts the parts of one micro-batch together. Throws WireError for a part of another one, or out of order.
class StepMasksInParts {
 public:
  explicit StepMasksInParts(uint64_t number) : number_(number) {}
  void add(StepMasks part);
  bool is_whole() const { return is_whole_; }
  std::vector<RowMask> take() { return std::move(masks_); }

 private:
  uint64_t number_;
  uint32_t next_part_ = 0;
  bool is_whole_ = false;
  std::vector<RowMask> masks_;
};

std::vector<std::byte> encode(const StepMasks& masks);
/// Throws WireError for bytes that no encode() made, and for masks of another width than vocab.
StepMasks decode_step_masks(std::span<const std::byte> bytes, int64_t vocab);

}  // namespace echelon
