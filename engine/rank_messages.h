// What ranks tell rank 0 about themselves, and rank 0's order to start: payloads of MessageKind::status.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/engine_metrics.h"
#include "engine/engine_options.h"

namespace echelon {

enum class RankPhase : uint8_t { opened = 1, ready = 2, running = 3 };

/// Micro-batches that one status tells of; the oldest of more are left out.
inline constexpr size_t kMaxSpans = 512;

/// A micro-batch on the rank, in microseconds before the status was sent.
struct SpanAge {
  uint32_t rows = 0;
  uint32_t begin_us = 0, end_us = 0;  ///< begin >= end
};

/// From every rank: once when its model is open, once when it is ready, then about every second.
struct RankStatus {
  RankPhase phase = RankPhase::opened;
  uint64_t settings_digest = 0;  ///< of its options: ranks started with other options are found at once
  int64_t max_blocks = 0;        ///< KV blocks it has room for
  double loaded_share = 0;       ///< of its weights, [0, 1]
  RankMetrics metrics;           ///< without what rank 0 adds
  uint64_t first_span = 0;       ///< number of the plan of spans[0]; those that follow are consecutive
  std::vector<SpanAge> spans;    ///< since the status before
};

/// From rank 0 to every rank, when all are open.
struct StartOrder {
  int64_t num_blocks = 0;
  std::vector<TokenId> end_tokens;  ///< tokens that end a generation: the sampler masks them before min_tokens
};

std::vector<std::byte> encode(const RankStatus& status);
std::vector<std::byte> encode(const StartOrder& order);
/// Which of the two a payload is. Throws WireError for neither.
bool is_start_order(std::span<const std::byte> bytes);
/// Throws WireError for anything that encode() does not make, and for numbers that cannot be: shares outside [0, 1],
/// times that are negative or not finite, spans that end before they begin.
RankStatus decode_rank_status(std::span<const std::byte> bytes);
StartOrder decode_start_order(std::span<const std::byte> bytes);

/// Equal for options that give the same plans and the same numbers.
uint64_t settings_digest(const EngineOptions& options);

}  // namespace echelon
