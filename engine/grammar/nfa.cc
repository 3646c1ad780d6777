#include "engine/grammar/nfa.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "engine/grammar/automaton.h"

namespace echelon {
namespace {

constexpr int kMaxDepth = 2000;  ///< of nested expressions
constexpr size_t kMaxNfaStates = size_t{1} << 20;

struct SubsetHash {
  size_t operator()(const std::vector<int32_t>& subset) const {
    uint64_t hash = subset.size();
    for (const int32_t state : subset)
      hash = (hash ^ static_cast<uint64_t>(state)) * 0x9E3779B97F4A7C15u + (hash >> 29);
    return static_cast<size_t>(hash);
  }
};

/// The subset construction (Rabin and Scott 1959). A subset keeps only states that matter: those with a byte or a call
/// to take, and the end.
class SubsetConstruction {
 public:
  SubsetConstruction(const Nfa& nfa, int num_classes, std::span<const int32_t> accepts, WorkBudget& budget)
      : nfa_(nfa), num_classes_(num_classes), budget_(budget), seen_(nfa.first_edge.size(), 0) {
    is_end_.assign(nfa.first_edge.size(), 0);
    for (const int32_t state : accepts) is_end_[static_cast<size_t>(state)] = 1;
  }

  Dfa run(std::span<const int32_t> starts) {
    for (const int32_t start : starts) dfa_.starts.push_back(intern({start}));
    std::vector<std::vector<int32_t>> targets(static_cast<size_t>(num_classes_));
    for (size_t state = 0; state < subsets_.size(); ++state) expand(state, targets);
    return std::move(dfa_);
  }

 private:
  int32_t intern(const std::vector<int32_t>& roots) {
    std::vector<int32_t> subset = closure(roots);
    const auto [found, is_new] = ids_.try_emplace(subset, static_cast<int32_t>(subsets_.size()));
    if (!is_new) return found->second;
    if (subsets_.size() >= static_cast<size_t>(kMaxAutomatonStates) ||
        (subsets_.size() + 1) * static_cast<size_t>(num_classes_) * sizeof(int32_t) > kMaxAutomatonBytes)
      throw GrammarError(fmt::format("the grammar is too large: more than {} states", subsets_.size()));
    dfa_.accepting.push_back(
        std::any_of(subset.begin(), subset.end(), [&](int32_t state) { return is_end_[static_cast<size_t>(state)]; }));
    dfa_.next.resize(dfa_.next.size() + static_cast<size_t>(num_classes_), Automaton::kDead);
    subsets_.push_back(std::move(subset));
    return found->second;
  }

  std::vector<int32_t> closure(const std::vector<int32_t>& roots) {
    ++stamp_;
    std::vector<int32_t> open, kept;
    const auto visit = [&](int32_t state) {
      if (std::exchange(seen_[static_cast<size_t>(state)], stamp_) != stamp_) open.push_back(state);
    };
    for (const int32_t root : roots) visit(root);
    while (!open.empty()) {
      const int32_t state = open.back();
      open.pop_back();
      bool matters = is_end_[static_cast<size_t>(state)] != 0;
      for (int32_t e = nfa_.first_edge[static_cast<size_t>(state)]; e >= 0;) {
        const Nfa::Edge& edge = nfa_.edges[static_cast<size_t>(e)];
        if (edge.kind == Nfa::EdgeKind::empty) {
          visit(edge.to);
        } else {
          matters = true;
        }
        e = edge.following;
        budget_.spend(1);
      }
      if (matters) kept.push_back(state);
    }
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  void expand(size_t state, std::vector<std::vector<int32_t>>& targets) {
    std::set<uint8_t> touched;
    std::map<int32_t, std::vector<int32_t>> called;  // rule -> where to go on
    for (const int32_t member : std::vector(subsets_[state])) {
      for (int32_t e = nfa_.first_edge[static_cast<size_t>(member)]; e >= 0;) {
        const Nfa::Edge& edge = nfa_.edges[static_cast<size_t>(e)];
        if (edge.kind == Nfa::EdgeKind::label) {
          const std::vector<uint8_t>& classes = nfa_.labels[static_cast<size_t>(edge.value)];
          budget_.spend(static_cast<int64_t>(classes.size()));
          for (const uint8_t c : classes) {
            targets[c].push_back(edge.to);
            touched.insert(c);
          }
        } else if (edge.kind == Nfa::EdgeKind::call) {
          called[edge.value].push_back(edge.to);
        }
        e = edge.following;
      }
    }
    // Many bytes go to the same states: those of one plain character, most often.
    std::map<std::vector<int32_t>, int32_t> known;
    for (const uint8_t c : touched) {
      auto& to = targets[c];
      auto found = known.find(to);
      if (found == known.end()) found = known.emplace(to, intern(to)).first;
      dfa_.next[state * static_cast<size_t>(num_classes_) + c] = found->second;
      to.clear();
    }
    for (const auto& [rule, after] : called)
      dfa_.calls.push_back({.state = static_cast<int32_t>(state), .rule = rule, .after = intern(after)});
  }

  const Nfa& nfa_;
  const int num_classes_;
  WorkBudget& budget_;
  std::vector<uint8_t> is_end_;
  std::vector<uint32_t> seen_;
  uint32_t stamp_ = 0;
  std::vector<std::vector<int32_t>> subsets_;
  std::unordered_map<std::vector<int32_t>, int32_t, SubsetHash> ids_;
  Dfa dfa_;
};

}  // namespace

ByteClasses::ByteClasses(const std::vector<Expression>& nodes) {
  std::set<ByteSet> sets;
  for (const Expression& node : nodes) {
    if (node.kind == Expression::Kind::bytes) sets.insert(node.bytes);
  }
  for (const ByteSet& set : sets) {             // what is inside and what is outside of it goes apart
    std::array<std::array<int, 2>, 256> split;  // [class][inside]: its new number; -1: none yet
    split.fill({-1, -1});
    num_classes_ = 0;
    for (size_t byte = 0; byte < class_of_.size(); ++byte) {
      int& number = split[class_of_[byte]][set.contains(static_cast<uint8_t>(byte)) ? 1 : 0];
      if (number < 0) number = num_classes_++;
      class_of_[byte] = static_cast<uint8_t>(number);
    }
  }
}

std::vector<uint8_t> ByteClasses::classes_of(const ByteSet& set) const {
  ByteSet classes;
  for (size_t byte = 0; byte < class_of_.size(); ++byte) {
    if (set.contains(static_cast<uint8_t>(byte))) classes.insert(class_of_[byte]);
  }
  std::vector<uint8_t> list;
  for (int number = 0; number < num_classes_; ++number) {
    if (classes.contains(static_cast<uint8_t>(number))) list.push_back(static_cast<uint8_t>(number));
  }
  return list;
}

int32_t Nfa::add_state() {
  if (first_edge.size() >= kMaxNfaStates) throw GrammarError("the grammar is too large");
  first_edge.push_back(-1);
  return static_cast<int32_t>(first_edge.size()) - 1;
}

void Nfa::add_edge(int32_t from, EdgeKind kind, int32_t value, int32_t to) {
  edges.push_back({.kind = kind, .value = value, .to = to, .following = first_edge[static_cast<size_t>(from)]});
  first_edge[static_cast<size_t>(from)] = static_cast<int32_t>(edges.size()) - 1;
}

Dfa determinize(const Nfa& nfa, int num_classes, std::span<const int32_t> starts, std::span<const int32_t> accepts,
                WorkBudget& budget) {
  return SubsetConstruction(nfa, num_classes, accepts, budget).run(starts);
}

NfaBuilder::NfaBuilder(const Expressions& expressions, const ByteClasses& classes, bool inline_rules,
                       WorkBudget& budget)
    : expressions_(expressions), classes_(classes), inline_rules_(inline_rules), budget_(budget) {}

NfaBuilder::Fragment NfaBuilder::add(ExpressionId id) {
  const Fragment fragment{.begin = nfa_.add_state(), .end = nfa_.add_state()};
  write(id, fragment.begin, fragment.end);
  return fragment;
}

int32_t NfaBuilder::label(std::vector<uint8_t> classes) {
  const auto [found, is_new] = label_ids_.try_emplace(classes, static_cast<int32_t>(nfa_.labels.size()));
  if (is_new) nfa_.labels.push_back(std::move(classes));
  return found->second;
}

void NfaBuilder::write(ExpressionId id, int32_t from, int32_t to) {
  if (++depth_ > kMaxDepth) throw GrammarError("the grammar is nested too deeply");
  budget_.spend(1);
  const Expression& node = expressions_[id];
  switch (node.kind) {
    case Expression::Kind::nothing:
      break;
    case Expression::Kind::empty:
      nfa_.add_edge(from, Nfa::EdgeKind::empty, 0, to);
      break;
    case Expression::Kind::bytes:
      if (!node.bytes.empty()) nfa_.add_edge(from, Nfa::EdgeKind::label, label(classes_.classes_of(node.bytes)), to);
      break;
    case Expression::Kind::sequence:
      for (size_t i = 0; i < node.parts.size(); ++i) {
        const int32_t next = i + 1 == node.parts.size() ? to : nfa_.add_state();
        write(node.parts[i], from, next);
        from = next;
      }
      break;
    case Expression::Kind::choice:
      for (const ExpressionId part : node.parts) {
        const int32_t begin = nfa_.add_state();
        nfa_.add_edge(from, Nfa::EdgeKind::empty, 0, begin);
        write(part, begin, to);
      }
      break;
    case Expression::Kind::repeat:
      write_repeat(node, from, to);
      break;
    case Expression::Kind::rule:
      write_rule(node.rule, from, to);
      break;
    case Expression::Kind::intersection:
    case Expression::Kind::difference:
      write_product(node, from, to);
      break;
  }
  --depth_;
}

void NfaBuilder::write_repeat(const Expression& node, int32_t from, int32_t to) {
  const int copies = node.max == kUnbounded ? node.min : node.max;
  for (int i = 0; i < copies; ++i) {
    if (i >= node.min) nfa_.add_edge(from, Nfa::EdgeKind::empty, 0, to);
    const int32_t next = nfa_.add_state();
    write(node.parts[0], from, next);
    from = next;
  }
  if (node.max == kUnbounded) {
    const int32_t loop = nfa_.add_state(), back = nfa_.add_state();
    nfa_.add_edge(from, Nfa::EdgeKind::empty, 0, loop);
    write(node.parts[0], loop, back);
    nfa_.add_edge(back, Nfa::EdgeKind::empty, 0, loop);
    from = loop;
  }
  nfa_.add_edge(from, Nfa::EdgeKind::empty, 0, to);
}

void NfaBuilder::write_rule(RuleId rule, int32_t from, int32_t to) {
  if (!inline_rules_) {
    nfa_.add_edge(from, Nfa::EdgeKind::call, rule, to);
    return;
  }
  if (std::find(open_rules_.begin(), open_rules_.end(), rule) != open_rules_.end())
    throw GrammarError(
        fmt::format("\"{}\" is recursive where only a regular expression can stand", expressions_.name(rule)));
  open_rules_.push_back(rule);
  if (expressions_.body(rule) >= 0) write(expressions_.body(rule), from, to);
  open_rules_.pop_back();
}

Dfa NfaBuilder::regular(ExpressionId id) {
  NfaBuilder builder(expressions_, classes_, true, budget_);
  builder.open_rules_ = open_rules_;
  builder.depth_ = depth_;
  const Fragment fragment = builder.add(id);
  return determinize(builder.nfa_, classes_.size(), {{fragment.begin}}, {{fragment.end}}, budget_);
}

/// The product of two deterministic automata, its pairs of states as states of the Nfa.
void NfaBuilder::write_product(const Expression& node, int32_t from, int32_t to) {
  const Dfa a = regular(node.parts[0]), b = regular(node.parts[1]);
  const bool is_difference = node.kind == Expression::Kind::difference;
  const auto width = static_cast<size_t>(classes_.size());
  std::map<std::pair<int32_t, int32_t>, int32_t> states;
  std::vector<std::pair<int32_t, int32_t>> open;
  const auto state_of = [&](std::pair<int32_t, int32_t> pair) {
    const auto [found, is_new] = states.try_emplace(pair, 0);
    if (is_new) {
      found->second = nfa_.add_state();
      open.push_back(pair);
    }
    return found->second;
  };
  nfa_.add_edge(from, Nfa::EdgeKind::empty, 0, state_of({a.starts[0], b.starts[0]}));
  while (!open.empty()) {
    const auto pair = open.back();
    open.pop_back();
    const int32_t state = states.at(pair);
    const bool in_b = pair.second >= 0 && b.accepting[static_cast<size_t>(pair.second)] != 0;
    if (a.accepting[static_cast<size_t>(pair.first)] != 0 && in_b != is_difference)
      nfa_.add_edge(state, Nfa::EdgeKind::empty, 0, to);
    std::map<std::pair<int32_t, int32_t>, std::vector<uint8_t>> moves;
    for (size_t c = 0; c < width; ++c) {
      const int32_t next_a = a.next[static_cast<size_t>(pair.first) * width + c];
      const int32_t next_b = pair.second < 0 ? Automaton::kDead : b.next[static_cast<size_t>(pair.second) * width + c];
      if (next_a < 0 || (next_b < 0 && !is_difference)) continue;
      moves[{next_a, next_b}].push_back(static_cast<uint8_t>(c));
    }
    budget_.spend(static_cast<int64_t>(width));
    for (auto& [target, move] : moves) {
      const int32_t next = state_of(target);
      nfa_.add_edge(state, Nfa::EdgeKind::label, label(std::move(move)), next);
    }
  }
}

}  // namespace echelon
