// Constants that define results or bound loops. The first group is part of the numbers (ARCHITECTURE.md, "Numbers that do
// not move"): changing one changes bits everywhere and needs new digests.
#pragma once

#include <cstdint>

namespace echelon {

// --- part of the numbers ---
inline constexpr int kNumLeaves = 24;           ///< leaves of every row-parallel sum; also the largest tensor-parallel size
inline constexpr int kLeavesPerSubtree = 3;     ///< leaves added left to right into one subtree
inline constexpr int kMlpGrain = 64;            ///< width of one grain of the MLP's intermediate dimension
inline constexpr int kQuantGroup = 32;          ///< activation values that share one int8 scale
inline constexpr int kVirtualLanes = 16;        ///< lanes over which norms and sums are defined
inline constexpr int kAttentionTile = 32;       ///< keys folded at once, at absolute positions
inline constexpr int kAttentionSpan = 256;      ///< keys folded into one partial result before merging in index order
inline constexpr int kVocabTile = 64;           ///< vocabulary rows in one tile of the LM head; shards are whole tiles

// --- sizes ---
inline constexpr int kColumnBlock = 16;         ///< output features interleaved in a packed weight
inline constexpr int kBlockTokens = 32;         ///< tokens in one KV block; never changes a bit
inline constexpr int kMaxTensorParallel = kNumLeaves;
inline constexpr int kMaxRanks = 4096;
inline constexpr int64_t kMaxModelLen = int64_t{1} << 20;
inline constexpr int64_t kMaxVocab = int64_t{1} << 21;

}  // namespace echelon
