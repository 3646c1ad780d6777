// Structured output: which tokens may come next so that the whole text is one that a JSON schema, a regular expression,
// a list of choices or a GBNF grammar allows.
//
// compile_grammar() makes an automaton over bytes (expression.h, automaton.h); a Matcher follows one text through it
// and says for every token of the vocabulary whether it may follow. For a state from which much of the vocabulary has
// to be looked at (inside a JSON string nearly all of it) the answer is worked out when the grammar is compiled, as far
// as it does not depend on the calls around; the idea is XGrammar's (Dong et al. 2024, arXiv 2411.15100).
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/configurations.h"
#include "engine/grammar/vocabulary.h"
#include "engine/token_mask.h"
#include "kernels/base/token.h"

namespace echelon {

enum class GrammarKind : uint8_t {
  json_schema,  ///< text: the schema, draft 2020-12
  json_object,  ///< any JSON object; text is empty
  regex,        ///< the whole text matches
  choice,       ///< text: a JSON array of strings
  gbnf,         ///< llama.cpp's notation, from its rule "root"
  answer,       ///< reasoning, text and calls of tools; text: as answer_grammar.h says
};

struct GrammarSource {
  GrammarKind kind = GrammarKind::json_schema;
  std::string text;
  bool operator==(const GrammarSource&) const = default;
};

inline constexpr size_t kMaxGrammarText = size_t{256} << 10;

/// Immutable; any thread.
class Grammar {
 public:
  Grammar(Automaton automaton, std::shared_ptr<const GrammarVocabulary> vocabulary);

  const Automaton& automaton() const { return automaton_; }
  const GrammarVocabulary& vocabulary() const { return *vocabulary_; }
  size_t size_bytes() const { return bytes_; }

 private:
  friend class Matcher;
  /// Of one state of the automaton, worked out in advance.
  struct StateMask {
    std::vector<uint64_t> words;  ///< tokens whose whole text stays in the state's rule, or ends with it
    /// Nodes of the trie behind places where the rule may end: what follows the call has to take their bytes. By byte:
    /// those of byte b from first_exit[b] on.
    std::vector<int32_t> exits;
    std::array<int32_t, 257> first_exit{};
    size_t size_bytes() const {
      return sizeof(StateMask) + words.size() * sizeof(uint64_t) + exits.size() * sizeof(int32_t);
    }
  };
  /// How tokens behind a state are found: by its mask; from the plain ones on; or by looking at all of them.
  void prepare_masks();
  /// similar: a state that has its mask, from which only the differences are worked out; -1: all of it.
  StateMask mask_of(Configurations& configurations, int32_t state, int32_t similar, bool has_exits,
                    int64_t& num_visited) const;
  int32_t similar_state(int32_t state, const std::vector<int32_t>& masked, const std::vector<bool>& called) const;
  std::vector<TokenTrie::Range> ranges_of(int32_t state, int32_t unlike) const;
  int64_t num_nodes_below(int32_t state, int32_t unlike = -1) const;

  Automaton automaton_;
  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  std::vector<uint8_t> plain_lengths_;  ///< [state]
  std::vector<int32_t> mask_ids_;       ///< [state], into masks_; -1: none
  std::vector<StateMask> masks_;
  size_t bytes_ = 0;
};

/// One text on its way through a grammar. One thread.
class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Grammar> grammar);
  Matcher(const Matcher& other);
  Matcher(Matcher&&) = default;

  /// False, and nothing has changed, when the token may not come next. End tokens leave the text as it is.
  bool advance(TokenId token);
  /// The text so far is a whole one.
  bool may_end() const { return configurations_.may_end(at_); }
  /// Nothing but the end may follow.
  bool must_end() const { return configurations_.configurations(at_).empty(); }
  size_t size_bytes() const { return configurations_.size_bytes(); }
  /// mask has the width of the vocabulary's logits; what it held is lost.
  void fill(TokenMask& mask);

 private:
  void allow_below(const TokenTrie& trie, int32_t first, int32_t end, Configurations::Id from, TokenMask& mask);
  void allow_plain(Configuration from, TokenMask& mask);
  void follow_exits(const Grammar::StateMask& known, Configuration caller, TokenMask& mask);

  std::shared_ptr<const Grammar> grammar_;
  Configurations configurations_;
  Configurations::Id at_;
  std::vector<Configurations::Id> path_;  ///< scratch of a walk: by depth
};

/// Throws GrammarError, for a person to read: what cannot be enforced or is too large.
std::shared_ptr<const Grammar> compile_grammar(const GrammarSource& source,
                                               std::shared_ptr<const GrammarVocabulary> vocabulary);

/// Compiled grammars by their source, those used last. Any thread; two that ask for the same at the same time may both
/// compile it.
class GrammarCache {
 public:
  explicit GrammarCache(std::shared_ptr<const GrammarVocabulary> vocabulary) : vocabulary_(std::move(vocabulary)) {}
  /// Null when it is not there.
  std::shared_ptr<const Grammar> find(const GrammarSource& source);
  /// As compile_grammar().
  std::shared_ptr<const Grammar> get(const GrammarSource& source);

 private:
  static constexpr size_t kMaxBytes = size_t{64} << 20;
  static std::string key_of(const GrammarSource& source);
  struct Entry {
    std::string key;
    std::shared_ptr<const Grammar> grammar;
  };
  std::shared_ptr<const GrammarVocabulary> vocabulary_;
  std::mutex mutex_;
  std::list<Entry> entries_;  ///< last used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  size_t bytes_ = 0;
};

}  // namespace echelon
