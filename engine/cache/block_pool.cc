#include "engine/cache/block_pool.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace echelon {
namespace {

/// One round of a 64-bit multiply-and-fold mixer; constants are odd random numbers.
uint64_t mix(uint64_t state, uint64_t value) {
  const unsigned __int128 product =
      static_cast<unsigned __int128>(state ^ 0x9d3f5c1b7a2e8465u) * (value ^ 0xe1b8f3d60c5a9727u);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64) ^ (state << 23 | state >> 41);
}

}  // namespace

PrefixKey root_key(uint64_t salt) { return {mix(0x517cc1b727220a95u, salt), mix(0x2545f4914f6cdd1du, ~salt)}; }

PrefixKey chain_key(const PrefixKey& parent, std::span<const TokenId> tokens) {
  PrefixKey key = parent;
  for (const TokenId token : tokens) {
    key.high = mix(key.high, static_cast<uint32_t>(token));
    key.low = mix(key.low, ~uint64_t{static_cast<uint32_t>(token)});
  }
  return key;
}

BlockPool::BlockPool(int num_blocks, bool caching) : caching_(caching), blocks_(num_blocks) {
  ECHELON_CHECK(num_blocks >= 1);
  for (int block = 0; block < num_blocks; ++block) blocks_[block].place = free_.insert(free_.end(), block);
}

std::optional<int> BlockPool::allocate() {
  if (free_.empty()) return std::nullopt;
  const int block = free_.front();
  free_.pop_front();
  forget(block);
  blocks_[block].references = 1;
  return block;
}

void BlockPool::retain(int block) {
  Block& b = blocks_.at(block);
  if (b.references++ == 0) free_.erase(b.place);
}

void BlockPool::release(int block) {
  Block& b = blocks_.at(block);
  ECHELON_CHECK(b.references > 0, "block {} released once too often", block);
  if (--b.references > 0) return;
  b.released_s = now_s_;
  // A block that holds nothing of use to anyone goes first.
  b.place = free_.insert(b.cached ? free_.end() : free_.begin(), block);
}

const BlockPool::Block* BlockPool::find(const PrefixKey& parent, std::span<const TokenId> tokens) const {
  if (!caching_) return nullptr;
  ECHELON_CHECK(tokens.size() == kBlockTokens);
  const auto found = cached_.find(chain_key(parent, tokens));
  if (found == cached_.end()) return nullptr;
  const Block& block = blocks_[found->second];
  const bool same = block.parent == parent && std::equal(tokens.begin(), tokens.end(), block.tokens.begin());
  return same ? &block : nullptr;
}

std::optional<int> BlockPool::lookup(const PrefixKey& parent, std::span<const TokenId> tokens) {
  const Block* found = find(parent, tokens);
  if (!found) return std::nullopt;
  const int block = static_cast<int>(found - blocks_.data());
  retain(block);
  return block;
}

BlockPool::Cached BlockPool::count_cached(const PrefixKey& root, std::span<const TokenId> tokens) const {
  PrefixKey parent = root;
  Cached count;
  for (; tokens.size() >= kBlockTokens; tokens = tokens.subspan(kBlockTokens)) {
    const Block* found = find(parent, tokens.first(kBlockTokens));
    if (!found) break;
    ++count.found;
    if (found->references > 0) ++count.in_use;
    parent = found->key;
  }
  return count;
}

void BlockPool::publish(int block, const PrefixKey& parent, std::span<const TokenId> tokens) {
  if (!caching_) return;
  ECHELON_CHECK(tokens.size() == kBlockTokens);
  Block& b = blocks_.at(block);
  ECHELON_CHECK(b.references > 0);
  if (b.cached) return;
  const PrefixKey key = chain_key(parent, tokens);
  if (!cached_.try_emplace(key, block).second) return;
  b.cached = true;
  b.parent = parent;
  b.key = key;
  std::copy(tokens.begin(), tokens.end(), b.tokens.begin());
}

void BlockPool::forget(int block) {
  Block& b = blocks_[block];
  if (!b.cached) return;
  cached_.erase(b.key);
  b.cached = false;
}

void BlockPool::forget_released_before(double time_s) {
  for (const int block : free_) {  // those with nothing in them, then the cached ones in the order of their release
    if (!blocks_[block].cached) continue;
    if (blocks_[block].released_s >= time_s) break;
    forget(block);
  }
}

void BlockPool::forget_all() {
  for (size_t block = 0; block < blocks_.size(); ++block) {
    if (blocks_[block].cached) forget(static_cast<int>(block));
  }
}

int64_t BlockPool::total_references() const {
  int64_t total = 0;
  for (const Block& block : blocks_) total += block.references;
  return total;
}

void BlockPool::check_integrity() const {
  std::vector<bool> is_free(blocks_.size());
  for (const int block : free_) {
    ECHELON_CHECK(!is_free[block], "block {} is twice in the free list", block);
    is_free[block] = true;
  }
  size_t num_cached = 0;
  for (size_t block = 0; block < blocks_.size(); ++block) {
    ECHELON_CHECK(is_free[block] == (blocks_[block].references == 0), "block {}", block);
    if (!blocks_[block].cached) continue;
    ++num_cached;
    const auto found = cached_.find(blocks_[block].key);
    ECHELON_CHECK(found != cached_.end() && found->second == static_cast<int>(block), "block {}", block);
  }
  ECHELON_CHECK(num_cached == cached_.size());
}

}  // namespace echelon
