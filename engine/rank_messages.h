// What ranks tell rank 0 about themselves, and its orders to them: payloads of MessageKind::status, assign and start.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/engine_metrics.h"
#include "engine/engine_options.h"
#include "parallel/layout.h"

namespace echelon {

/// idle: without a place, as a spare is.
enum class RankPhase : uint8_t { idle = 1, opened, ready, running };

/// Micro-batches that one status tells of; the oldest of more are left out.
inline constexpr size_t kMaxSpans = 512;

/// A micro-batch on the rank, in microseconds before the status was sent.
struct SpanAge {
  uint32_t rows = 0;
  uint32_t begin_us = 0, end_us = 0;  ///< begin >= end
};

/// From every rank, of the epoch of its message: once when its model is open, once when it is ready, then about every
/// second; while it reads weights more often.
struct RankStatus {
  RankPhase phase = RankPhase::opened;
  uint64_t settings_digest = 0;  ///< of its options: ranks started with other options are found at once
  int64_t max_blocks = 0;        ///< KV blocks it has room for
  uint64_t host_bytes = 0;       ///< its host's free memory when it began
  double loaded_share = 0;       ///< of its weights, [0, 1]
  RankMetrics metrics;           ///< without what rank 0 adds
  uint64_t first_span = 0;       ///< number of the plan of spans[0]; those that follow are consecutive
  std::vector<SpanAge> spans;    ///< since the status before
};

/// From rank 0: the ranks that serve a replica from now on, the receiver among them, in the epoch of the message.
struct Assignment {
  int32_t replica = 0;
  LayoutSizes sizes;           ///< dp is 1
  std::vector<int32_t> ranks;  ///< stage after stage, in each the parts in order
  int32_t ranks_on_host = 1;   ///< that share the receiver's host and have a place

  /// Which of `ranks` this one is; -1: none.
  int index_of(int rank) const;
};

/// From rank 0 to the ranks of a replica, when all are open.
struct StartOrder {
  int64_t num_blocks = 0;
  std::vector<TokenId> end_tokens;  ///< tokens that end a generation: the sampler masks them before min_tokens
};

std::vector<std::byte> encode(const RankStatus& status);
std::vector<std::byte> encode(const Assignment& assignment);
std::vector<std::byte> encode(const StartOrder& order);
/// Throws WireError for anything that encode() does not make, and for numbers that cannot be: shares outside [0, 1],
/// times that are negative or not finite, spans that end before they begin.
RankStatus decode_rank_status(std::span<const std::byte> bytes);
/// Of a job with so many ranks.
Assignment decode_assignment(std::span<const std::byte> bytes, int num_ranks);
StartOrder decode_start_order(std::span<const std::byte> bytes);

/// Equal for options that give the same plans and the same numbers.
uint64_t settings_digest(const EngineOptions& options);

}  // namespace echelon
