#include "engine/grammar/grammar.h"

#include <algorithm>
#include <numeric>

#include "kernels/base/check.h"

namespace echelon {
namespace {

/// Nodes of the trie below the bytes that a state takes: from so many on its mask is worked out in advance, unless most
/// of them are plain.
constexpr int64_t kManyNodes = 4096;
/// What masks of one grammar may take, and how many nodes may be visited for them (about 0.1 s); states beyond that are
/// walked when they are met.
constexpr size_t kMaxMaskBytes = size_t{8} << 20;
constexpr int64_t kMaxVisits = 20'000'000;
/// A matcher that has grown so large forgets what it does not need to go on.
constexpr size_t kMaxMatcherBytes = size_t{4} << 20;

/// Calls on_node(node, set) for every node of [first, end) that the texts from `from` reach. Nodes in [first, end) hang
/// on one node, whole subtrees of it. path: scratch.
template <typename OnNode>
void walk_trie(const TokenTrie& trie, Configurations& configurations, int32_t first, int32_t end,
               Configurations::Id from, std::vector<Configurations::Id>& path, OnNode on_node) {
  if (first >= end) return;
  path.resize(static_cast<size_t>(trie.max_depth()) + 1);
  path[static_cast<size_t>(trie.depth(first))] = from;
  for (int32_t node = first; node < end;) {
    const auto depth = static_cast<size_t>(trie.depth(node));
    const Configurations::Id to = configurations.step(path[depth], trie.byte(node));
    if (to == Configurations::kNone) {
      node = trie.end(node);
      continue;
    }
    path[depth + 1] = to;
    on_node(node, to);
    ++node;
  }
}

}  // namespace

Grammar::Grammar(Automaton automaton, std::shared_ptr<const GrammarVocabulary> vocabulary)
    : automaton_(std::move(automaton)),
      vocabulary_(std::move(vocabulary)),
      plain_lengths_(echelon::plain_lengths(automaton_)) {
  prepare_masks();
  bytes_ = sizeof(Grammar) + automaton_.size_bytes() + plain_lengths_.size() + mask_ids_.size() * sizeof(int32_t);
  for (const StateMask& mask : masks_) bytes_ += mask.size_bytes();
}

int64_t Grammar::num_nodes_below(int32_t state) const {
  const auto* row = &automaton_.next[static_cast<size_t>(state) * static_cast<size_t>(automaton_.num_classes)];
  int64_t num_nodes = 0;
  for (int byte = 0; byte < 256; ++byte) {
    if (row[automaton_.class_of[static_cast<size_t>(byte)]] < 0) continue;
    const TokenTrie::Range range = vocabulary_->all().children_by(static_cast<uint8_t>(byte));
    num_nodes += range.end - range.first;
  }
  return num_nodes;
}

void Grammar::prepare_masks() {
  mask_ids_.assign(static_cast<size_t>(automaton_.num_states()), -1);
  Configurations configurations(automaton_);
  size_t bytes = 0;
  int64_t visits = 0;
  for (int32_t state = 0; state < automaton_.num_states(); ++state) {
    if (plain_lengths_[static_cast<size_t>(state)] == kMaxPlainLength) continue;
    const int64_t num_nodes = num_nodes_below(state);
    if (num_nodes < kManyNodes) continue;
    if (bytes > kMaxMaskBytes || visits > kMaxVisits) break;
    mask_ids_[static_cast<size_t>(state)] = static_cast<int32_t>(masks_.size());
    masks_.push_back(mask_of(configurations, state));
    bytes += masks_.back().size_bytes();
    visits += num_nodes;
    if (configurations.size_bytes() > kMaxMatcherBytes) configurations = Configurations(automaton_);
  }
}

Grammar::StateMask Grammar::mask_of(Configurations& configurations, int32_t state) const {
  const TokenTrie& trie = vocabulary_->all();
  const Configuration alone{.state = state, .stack = kBottom};
  TokenMask mask(vocabulary_->width());
  std::vector<Configurations::Id> path;
  std::vector<std::pair<uint8_t, int32_t>> exits;
  walk_trie(trie, configurations, 0, trie.num_nodes(), configurations.just({&alone, 1}), path,
            [&](int32_t node, Configurations::Id at) {
              for (const TokenId token : trie.tokens_at(node)) mask.allow(token);
              if (!configurations.may_end(at)) return;
              for (int32_t child = node + 1; child < trie.end(node); child = trie.end(child))
                exits.emplace_back(trie.byte(child), child);
            });
  StateMask result;
  result.words.assign(mask.words().begin(), mask.words().end());
  std::sort(exits.begin(), exits.end());
  for (const auto& [byte, node] : exits) {
    ++result.first_exit[static_cast<size_t>(byte) + 1];
    result.exits.push_back(node);
  }
  std::partial_sum(result.first_exit.begin(), result.first_exit.end(), result.first_exit.begin());
  return result;
}

Matcher::Matcher(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)),
      configurations_(grammar_->automaton()),
      at_(configurations_.closed({.state = grammar_->automaton().start, .stack = kBottom})) {
  ECHELON_CHECK(at_ != Configurations::kNone);
}

Matcher::Matcher(const Matcher& other)
    : grammar_(other.grammar_), configurations_(grammar_->automaton()), at_(other.at_) {
  configurations_ = other.configurations_.extracted(at_);
}

bool Matcher::advance(TokenId token) {
  const GrammarVocabulary& vocabulary = grammar_->vocabulary();
  if (vocabulary.is_end(token)) return may_end();
  if (token < 0 || token >= vocabulary.all().num_ids()) return false;
  const std::string_view bytes = vocabulary.all().token_bytes(token);
  if (bytes.empty()) return false;
  Configurations::Id at = at_;
  for (const char c : bytes) {
    at = configurations_.step(at, static_cast<uint8_t>(c));
    if (at == Configurations::kNone) return false;
  }
  at_ = at;
  if (configurations_.size_bytes() > kMaxMatcherBytes) configurations_ = configurations_.extracted(at_);
  return true;
}

void Matcher::fill(TokenMask& mask) {
  mask.clear();
  if (may_end()) {
    for (const TokenId token : grammar_->vocabulary().end_tokens()) mask.allow(token);
  }
  std::vector<Configuration> few;
  const auto now = configurations_.configurations(at_);
  for (const Configuration& each : std::vector(now.begin(), now.end())) {
    const auto state = static_cast<size_t>(each.state);
    if (const int32_t id = grammar_->mask_ids_[state]; id >= 0) {
      const Grammar::StateMask& known = grammar_->masks_[static_cast<size_t>(id)];
      mask.allow(known.words);
      if (each.stack != kBottom) follow_exits(known, configurations_.caller(each.stack), mask);
    } else if (const int length = grammar_->plain_lengths_[state]; length == kMaxPlainLength) {
      allow_plain(each, mask);
    } else {
      few.push_back(each);
    }
  }
  const TokenTrie& trie = grammar_->vocabulary().all();
  if (!few.empty()) allow_below(trie, 0, trie.num_nodes(), configurations_.just(few), mask);
}

void Matcher::allow_plain(Configuration from, TokenMask& mask) {
  mask.allow(grammar_->vocabulary().plain(kMaxPlainLength));
  const TokenTrie& trie = grammar_->vocabulary().not_plain();
  allow_below(trie, 0, trie.num_nodes(), configurations_.just({&from, 1}), mask);
}

/// Tokens that leave the rule: the rest of them has to fit what comes after the call.
void Matcher::follow_exits(const Grammar::StateMask& known, Configuration caller, TokenMask& mask) {
  const Configurations::Id after = configurations_.closed(caller);
  if (after == Configurations::kNone || known.exits.empty()) return;
  const TokenTrie& trie = grammar_->vocabulary().all();
  for (size_t byte = 0; byte < 256; ++byte) {
    const int32_t first = known.first_exit[byte], end = known.first_exit[byte + 1];
    if (first == end || configurations_.step(after, static_cast<uint8_t>(byte)) == Configurations::kNone) continue;
    for (int32_t i = first; i < end; ++i) {
      const int32_t node = known.exits[static_cast<size_t>(i)];
      allow_below(trie, node, trie.end(node), after, mask);
    }
  }
}

void Matcher::allow_below(const TokenTrie& trie, int32_t first, int32_t end, Configurations::Id from, TokenMask& mask) {
  walk_trie(trie, configurations_, first, end, from, path_, [&](int32_t node, Configurations::Id) {
    for (const TokenId token : trie.tokens_at(node)) mask.allow(token);
  });
}

std::string GrammarCache::key_of(const GrammarSource& source) {
  return static_cast<char>('0' + static_cast<int>(source.kind)) + source.text;
}

std::shared_ptr<const Grammar> GrammarCache::find(const GrammarSource& source) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key_of(source));
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->grammar;
}

std::shared_ptr<const Grammar> GrammarCache::get(const GrammarSource& source) {
  if (auto known = find(source)) return known;
  const std::string key = key_of(source);
  std::shared_ptr<const Grammar> grammar = compile_grammar(source, vocabulary_);
  const std::lock_guard lock(mutex_);
  if (by_key_.contains(key)) return grammar;
  entries_.push_front({.key = key, .grammar = grammar});
  by_key_[key] = entries_.begin();
  bytes_ += grammar->size_bytes() + 2 * key.size();
  while (bytes_ > kMaxBytes && entries_.size() > 1) {
    bytes_ -= entries_.back().grammar->size_bytes() + 2 * entries_.back().key.size();
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
  return grammar;
}

}  // namespace echelon
