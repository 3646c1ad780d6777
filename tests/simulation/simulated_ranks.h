// Ranks without a clock, a transport or a model: the real Stage with its SlotTable and Sampler over layers whose
// numbers are hashes. What a stage passes on for a token is a hash of everything its cache holds for the tokens before,
// read through the block table, so that a block used wrongly, or a token run twice or not at all, changes all that
// follows.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/model/layer_runner.h"
#include "engine/stage/stage.h"
#include "engine/token_mask.h"
#include "kernels/base/token.h"

namespace echelon::simulation {

inline constexpr int64_t kVocab = 64;
inline constexpr TokenId kEndToken = 0;
inline constexpr int64_t kHidden = 2;  ///< of pooled vectors

/// What a made-up grammar allows behind these tokens; now and then the end alone.
TokenMask allowed_after(std::span<const TokenId> tokens);

/// What one sequence must get: its prompt run alone through stages that keep all tokens in a row.
std::vector<TokenId> tokens_alone(const std::vector<TokenId>& prompt, const SamplingParams& sampling, int choice,
                                  bool masked, int num_stages);

/// The vector of a prompt that is run alone.
std::vector<float> pooled_alone(const std::vector<TokenId>& prompt, Pooling pooling, int num_stages);

/// Residual streams on their way: [from][to], in order. Whoever receives must know that something has come.
using Streams = std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>>;

struct RankOptions {
  int stage = 0, num_stages = 1;
  SlotLimits limits;
};

/// One rank, a whole stage.
class SimulatedRank {
 public:
  SimulatedRank(const RankOptions& options, Streams& streams);
  ~SimulatedRank();

  /// A plan's bytes, as RankRunner takes them: throws WireError for what it must not run. The stage before must have
  /// run it. The encoded result on the last stage, which says that it took stage_us, else nothing. masks: encoded, all
  /// that the plan waits for.
  std::vector<std::byte> run(std::span<const std::byte> plan, std::span<const std::vector<std::byte>> masks,
                             uint32_t stage_us);
  /// On the last stage: does it have to wait for masks? Not for a plan that it refuses, by its number, before that.
  bool waits_for_masks(std::span<const std::byte> plan) const;

 private:
  class HashLayers;
  class Link;
  StageClock clock_;
  std::unique_ptr<HashLayers> layers_;
  std::unique_ptr<Link> link_;
  std::unique_ptr<Stage> stage_;
  std::map<int, uint32_t> generations_;  ///< of every slot, the newest
  uint64_t last_number_ = 0;
};

}  // namespace echelon::simulation
