// On the way from expressions to an Automaton: Thompson's nondeterministic automaton, and the subset construction.
// Internal to automaton.cc and nfa.cc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/expression.h"

namespace echelon {

/// Bytes that no set of the grammar tells apart are one class; a label is a set of classes.
class ByteClasses {
 public:
  explicit ByteClasses(const std::vector<Expression>& nodes);
  int size() const { return num_classes_; }
  const std::array<uint8_t, 256>& class_of() const { return class_of_; }
  std::vector<uint8_t> classes_of(const ByteSet& set) const;

 private:
  std::array<uint8_t, 256> class_of_{};
  int num_classes_ = 1;
};

struct Nfa {
  enum class EdgeKind : uint8_t { empty, label, call };
  struct Edge {
    EdgeKind kind = EdgeKind::empty;
    int32_t value = 0;  ///< label or rule
    int32_t to = 0;
    int32_t following = -1;  ///< edge of the same state
  };
  std::vector<int32_t> first_edge;  ///< [state]; -1: none
  std::vector<Edge> edges;
  std::vector<std::vector<uint8_t>> labels;  ///< classes

  int32_t add_state();
  void add_edge(int32_t from, EdgeKind kind, int32_t value, int32_t to);
};

/// Tables of the subset construction, for any number of starts.
struct Dfa {
  struct Call {
    int32_t state = 0, rule = 0, after = 0;
  };
  std::vector<int32_t> next;  ///< [state][class]
  std::vector<uint8_t> accepting;
  std::vector<Call> calls;      ///< by state, ascending
  std::vector<int32_t> starts;  ///< of each start given
};

/// What one build may do in all: the steps of the subset construction, counted and not timed, so that the same grammar
/// is refused everywhere or nowhere.
class WorkBudget {
 public:
  void spend(int64_t amount) {
    left_ -= amount;
    if (left_ < 0) throw GrammarError("the grammar is too complex to be compiled");
  }

 private:
  int64_t left_ = 12'000'000;
};

/// accepts: the one NFA state where texts end, for each start.
Dfa determinize(const Nfa& nfa, int num_classes, std::span<const int32_t> starts, std::span<const int32_t> accepts,
                WorkBudget& budget);

/// Writes expressions into an Nfa.
class NfaBuilder {
 public:
  /// inline_rules: rules are written in place (for what has to be regular); else they become calls.
  NfaBuilder(const Expressions& expressions, const ByteClasses& classes, bool inline_rules, WorkBudget& budget);
  /// States where the expression begins and ends.
  struct Fragment {
    int32_t begin = 0, end = 0;
  };
  Fragment add(ExpressionId id);
  const Nfa& nfa() const { return nfa_; }

 private:
  void write(ExpressionId id, int32_t from, int32_t to);
  void write_repeat(const Expression& node, int32_t from, int32_t to);
  void write_product(const Expression& node, int32_t from, int32_t to);
  void write_rule(RuleId rule, int32_t from, int32_t to);
  Dfa regular(ExpressionId id);
  int32_t label(std::vector<uint8_t> classes);

  const Expressions& expressions_;
  const ByteClasses& classes_;
  bool inline_rules_;
  WorkBudget& budget_;
  Nfa nfa_;
  std::map<std::vector<uint8_t>, int32_t> label_ids_;
  std::vector<RuleId> open_rules_;  ///< being written in place
  int depth_ = 0;
};

}  // namespace echelon
