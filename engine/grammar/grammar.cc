#include "engine/grammar/grammar.h"

#include <algorithm>
#include <numeric>

#include "kernels/base/check.h"

namespace echelon {
namespace {

/// Nodes of the trie that the texts from a state reach: from so many on its mask is worked out in advance, unless most
/// of them are plain.
constexpr int64_t kManyNodes = 4096;
/// What masks of one grammar may take, and how many nodes may be visited for them (about 0.1 s); states beyond that are
/// walked when they are met.
constexpr size_t kMaxMaskBytes = size_t{8} << 20;
constexpr int64_t kMaxVisits = 20'000'000;
/// A matcher that has grown so large forgets what it does not need to go on.
constexpr size_t kMaxMatcherBytes = size_t{4} << 20;

/// States of rules that are called: something may follow where such a rule ends. The others are the root's alone.
std::vector<bool> called_states(const Automaton& automaton) {
  std::vector<bool> called(static_cast<size_t>(automaton.num_states()), false);
  std::vector<int32_t> open;
  const auto mark = [&](int32_t state) {
    if (state < 0 || called[static_cast<size_t>(state)]) return;
    called[static_cast<size_t>(state)] = true;
    open.push_back(state);
  };
  for (const Automaton::Call& call : automaton.calls) mark(call.start);
  while (!open.empty()) {
    const int32_t state = open.back();
    open.pop_back();
    const auto num_classes = static_cast<size_t>(automaton.num_classes);
    for (size_t i = 0; i < num_classes; ++i) mark(automaton.next[static_cast<size_t>(state) * num_classes + i]);
    for (const Automaton::Call& call : automaton.calls_of(state)) mark(call.after);
  }
  return called;
}

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

int64_t Grammar::num_nodes_below(int32_t state, int32_t unlike) const {
  int64_t num_nodes = 0;
  for (const TokenTrie::Range& range : ranges_of(state, unlike)) num_nodes += range.end - range.first;
  return num_nodes;
}

/// The trie below the bytes that a state takes, or below those after which it goes on elsewhere than `unlike`.
std::vector<TokenTrie::Range> Grammar::ranges_of(int32_t state, int32_t unlike) const {
  const auto row_of = [&](int32_t of) {
    return &automaton_.next[static_cast<size_t>(of) * static_cast<size_t>(automaton_.num_classes)];
  };
  const int32_t* row = row_of(state);
  const int32_t* other = unlike < 0 ? nullptr : row_of(unlike);
  std::vector<TokenTrie::Range> ranges;
  for (int byte = 0; byte < 256; ++byte) {
    const size_t byte_class = automaton_.class_of[static_cast<size_t>(byte)];
    if (other == nullptr ? row[byte_class] < 0 : row[byte_class] == other[byte_class]) continue;
    ranges.push_back(vocabulary_->all().children_by(static_cast<uint8_t>(byte)));
  }
  return ranges;
}

/// The state with a mask that differs from this one's in the fewest places: in a text that ends before some word, a
/// state for each beginning of the word. -1: none is much like it.
int32_t Grammar::similar_state(int32_t state, const std::vector<int32_t>& masked,
                               const std::vector<bool>& called) const {
  constexpr size_t kMostLookedAt = 32;
  const auto calls = automaton_.calls_of(state);
  int32_t best = -1;
  int64_t least = num_nodes_below(state) / 2;
  for (size_t i = masked.size(); i > 0 && masked.size() - i < kMostLookedAt; --i) {
    const int32_t other = masked[i - 1];
    if (called[static_cast<size_t>(other)] != called[static_cast<size_t>(state)]) continue;
    const auto others = automaton_.calls_of(other);
    if (!std::equal(calls.begin(), calls.end(), others.begin(), others.end())) continue;
    const int64_t num_nodes = num_nodes_below(state, other);
    if (num_nodes < least) least = num_nodes, best = other;
  }
  return best;
}

void Grammar::prepare_masks() {
  mask_ids_.assign(static_cast<size_t>(automaton_.num_states()), -1);
  Configurations configurations(automaton_);
  const std::vector<bool> called = called_states(automaton_);
  std::vector<int32_t> masked;
  size_t bytes = 0;
  int64_t visits = 0;
  for (int32_t state = 0; state < automaton_.num_states(); ++state) {
    if (plain_lengths_[static_cast<size_t>(state)] == kMaxPlainLength) continue;
    if (num_nodes_below(state) < kManyNodes) continue;
    if (bytes > kMaxMaskBytes || visits > kMaxVisits) break;
    const int32_t similar = similar_state(state, masked, called);
    int64_t num_visited = 0;
    StateMask mask = mask_of(configurations, state, similar, called[static_cast<size_t>(state)], num_visited);
    visits += num_visited;
    if (similar >= 0 ||
        num_visited >= kManyNodes) {  // else quickly walked when it is met: a blank with little behind it
      mask_ids_[static_cast<size_t>(state)] = static_cast<int32_t>(masks_.size());
      masks_.push_back(std::move(mask));
      masked.push_back(state);
      bytes += masks_.back().size_bytes();
    }
    if (configurations.size_bytes() > kMaxMatcherBytes) configurations = Configurations(automaton_);
  }
}

Grammar::StateMask Grammar::mask_of(Configurations& configurations, int32_t state, int32_t similar, bool has_exits,
                                    int64_t& num_visited) const {
  const TokenTrie& trie = vocabulary_->all();
  const Configuration alone{.state = state, .stack = kBottom};
  TokenMask mask(vocabulary_->width());
  std::vector<std::pair<uint8_t, int32_t>> exits;
  const std::vector<TokenTrie::Range> ranges = ranges_of(state, similar);
  if (similar >= 0) {
    const StateMask& like = masks_[static_cast<size_t>(mask_ids_[static_cast<size_t>(similar)])];
    mask.allow(like.words);
    const auto is_walked = [&](int32_t node) {
      return std::any_of(ranges.begin(), ranges.end(),
                         [&](const TokenTrie::Range& range) { return node >= range.first && node < range.end; });
    };
    for (size_t byte = 0; byte < 256; ++byte) {
      for (int32_t i = like.first_exit[byte]; i < like.first_exit[byte + 1]; ++i) {
        const int32_t node = like.exits[static_cast<size_t>(i)];
        if (!is_walked(node)) exits.emplace_back(static_cast<uint8_t>(byte), node);
      }
    }
  }
  std::vector<Configurations::Id> path;
  for (const TokenTrie::Range& range : ranges) {
    for (int32_t node = range.first; similar >= 0 && node < range.end; ++node) {
      for (const TokenId token : trie.tokens_at(node)) mask.forbid(token);
    }
    walk_trie(trie, configurations, range.first, range.end, configurations.just({&alone, 1}), path,
              [&](int32_t node, Configurations::Id at) {
                ++num_visited;
                for (const TokenId token : trie.tokens_at(node)) mask.allow(token);
                if (!has_exits || !configurations.may_end(at)) return;
                for (int32_t child = node + 1; child < trie.end(node); child = trie.end(child))
                  exits.emplace_back(trie.byte(child), child);
              });
  }
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
