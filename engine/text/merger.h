// Merging the symbols of one piece of text into tokens: byte-pair encoding by rank, and SentencePiece's by score.
// Long words keep the symbols in a linked list and the possible merges in a heap: O(n log n) for n symbols. Short ones,
// which nearly all are, take merge_few.h. Methods: Sennrich et al. 2016 (arXiv 1508.07909); Kudo and Richardson 2018
// (arXiv 1808.06226). Thread-safe.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/piece_table.h"
#include "kernels/base/token.h"

namespace echelon {

/// Hash for look-ups by string_view.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

class Merger {
 public:
  virtual ~Merger() = default;
  /// Appends the tokens of the piece.
  virtual void append_tokens(std::string_view piece, std::vector<TokenId>& out) const = 0;
};

/// (left, right) -> (rank, merged), an open-addressed table that is filled once.
class MergeTable {
 public:
  struct Entry {
    TokenId left = -1, right = -1, merged = -1;
    int32_t rank = 0;
  };
  explicit MergeTable(size_t num_merges);
  /// The first entry for a pair stays. At most num_merges calls.
  void add(const Entry& entry);
  /// nullptr when the pair does not merge.
  const Entry* find(TokenId left, TokenId right) const;

 private:
  static constexpr int kFilterBits = 19;
  static uint64_t hash_of(TokenId left, TokenId right) {
    const uint64_t key = (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
    return key * 0x9e3779b97f4a7c15u;
  }
  size_t slot_of(uint64_t hash) const { return static_cast<size_t>(hash >> 20) & (slots_.size() - 1); }

  std::vector<Entry> slots_;
  std::bitset<size_t{1} << kFilterBits> filter_;  ///< by hash: where no bit is, there is no entry; 64 KiB
};

/// Merges by rank. Byte-level: a symbol per byte. Otherwise: a symbol per character, or its bytes' tokens, or unknown.
struct RankMergerSetup {
  std::array<TokenId, 256> byte_ids;  ///< token of each byte; -1: none (the byte is dropped)
  bool byte_level = true;
  bool whole_piece_first = false;  ///< a piece that is a token is that token, whatever the merges say
  std::optional<TokenId> unknown_id = std::nullopt;
  bool fuse_unknown = false;  ///< one unknown token for a run of unknown characters
  /// Bytes (byte-level) or characters -> token; used for whole pieces, and for the characters when not byte-level.
  PieceTable pieces = {};
};
std::unique_ptr<const Merger> make_rank_merger(RankMergerSetup setup, MergeTable merges);

/// Merges neighbours whose joined text is a token, best score first, leftmost among equals.
struct ScoreMergerSetup {
  PieceTable pieces = {};                            ///< spelling (spaces as U+2581) -> token
  std::vector<float> scores;                         ///< by token id
  std::array<TokenId, 256> byte_ids;                 ///< -1: none
  std::optional<TokenId> unknown_id = std::nullopt;  ///< for a character with neither token nor byte tokens
};
std::unique_ptr<const Merger> make_score_merger(ScoreMergerSetup setup);

}  // namespace echelon
