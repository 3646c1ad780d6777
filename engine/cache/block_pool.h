// KV blocks of one replica, as rank 0 sees them: reference counts, the free list, and the prefix cache that lives in
// it.
//
// A block is used (references > 0), or free. A free block may still be cached: it keeps the identity of what was
// computed in it until it is handed out again. The free list is in LRU order, so it is the cache. Numbers of plans are
// a total order on every rank, so a block freed while planning may be handed out for the very next plan. Plain data,
// one thread, O(1) per block but for the hash of 32 tokens.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "kernels/base/limits.h"
#include "kernels/base/token.h"

namespace echelon {

/// 128-bit chained hash of a block's tokens and all tokens before them. Only a way to find candidates: tokens are
/// compared.
struct PrefixKey {
  uint64_t high = 0, low = 0;
  bool operator==(const PrefixKey&) const = default;
};

/// The key of the empty prefix of a tenant or adapter.
PrefixKey root_key(uint64_t salt);
/// Key of the block that follows `parent` and holds `tokens` (kBlockTokens of them).
PrefixKey chain_key(const PrefixKey& parent, std::span<const TokenId> tokens);

class BlockPool {
 public:
  /// num_blocks >= 1. Without caching, lookup() never finds and publish() does nothing.
  BlockPool(int num_blocks, bool caching);

  int num_blocks() const { return static_cast<int>(blocks_.size()); }
  int num_free() const { return static_cast<int>(free_.size()); }

  /// A block with one reference, least recently used first; what was cached in it is forgotten. Nothing when none is
  /// free.
  std::optional<int> allocate();
  void retain(int block);
  /// Frees the block when this was its last reference. Release a sequence's last block first: then its head is evicted
  /// last.
  void release(int block);

  /// A cached block that follows `parent` with exactly these tokens; takes a reference. Nothing when there is none.
  std::optional<int> lookup(const PrefixKey& parent, std::span<const TokenId> tokens);
  /// The blocks that lookup() would find for this prompt, and how many of them are in use, and so cost no free block.
  struct Cached {
    int found = 0, in_use = 0;
  };
  Cached count_cached(const PrefixKey& root, std::span<const TokenId> tokens) const;
  /// Says what a used block holds once it is full. The first block with a content keeps it.
  void publish(int block, const PrefixKey& parent, std::span<const TokenId> tokens);

  /// Time, in seconds of any clock that only goes forward: blocks remember when they were released.
  void set_time(double now_s) { now_s_ = now_s; }
  /// Forgets what free blocks hold that were released before `time_s`. O(free blocks).
  void forget_released_before(double time_s);
  /// Forgets what all blocks hold, used ones too: nothing that is there now is found again. O(blocks).
  void forget_all();

  /// Sum of references, for the test that nothing is lost: every block is either free or referenced.
  int64_t total_references() const;
  /// Aborts when an invariant does not hold. O(blocks).
  void check_integrity() const;

 private:
  struct Block {
    int references = 0;
    bool cached = false;
    double released_s = 0;
    PrefixKey parent, key;
    std::array<TokenId, kBlockTokens> tokens{};
    std::list<int>::iterator place;  ///< in free_, when references == 0
  };
  struct KeyHash {
    size_t operator()(const PrefixKey& key) const { return key.low; }
  };
  const Block* find(const PrefixKey& parent, std::span<const TokenId> tokens) const;
  void forget(int block);

  bool caching_;
  double now_s_ = 0;
  std::vector<Block> blocks_;
  std::list<int> free_;  ///< front: handed out next
  std::unordered_map<PrefixKey, int, KeyHash> cached_;
};

}  // namespace echelon
