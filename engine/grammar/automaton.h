// A grammar as an automaton over bytes: one deterministic automaton for every rule, tied together by calls. A grammar
// without recursion that writes all in one rule is one deterministic automaton and has no calls.
//
// A configuration is a state and a stack of states to go on from; configurations.h runs it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/grammar/expression.h"

namespace echelon {

struct Automaton {
  static constexpr int32_t kDead = -1;
  /// Runs a rule from its start; when the rule may end, goes on from `after`.
  struct Call {
    int32_t start = 0;
    int32_t after = 0;
    bool is_tail = false;  ///< after `after` nothing follows in its own rule: no need to come back
    bool operator==(const Call&) const = default;
  };

  std::array<uint8_t, 256> class_of{};  ///< bytes of a class are never told apart
  int num_classes = 0;
  std::vector<int32_t> next;        ///< [state][class]; kDead: no text goes on like this
  std::vector<int32_t> first_call;  ///< [state + 1]: calls of a state are calls[first_call[s], first_call[s + 1])
  std::vector<Call> calls;
  std::vector<uint8_t> accepting;    ///< [state]: the rule may end here
  std::vector<uint8_t> takes_bytes;  ///< [state]: some byte goes on from here
  int32_t start = kDead;             ///< of the root

  int num_states() const { return static_cast<int>(accepting.size()); }
  std::span<const Call> calls_of(int32_t state) const {
    return std::span(calls).subspan(static_cast<size_t>(first_call[state]),
                                    static_cast<size_t>(first_call[state + 1] - first_call[state]));
  }
  size_t size_bytes() const {
    return next.size() * sizeof(int32_t) + calls.size() * sizeof(Call) + 6 * accepting.size();
  }
};

/// States of one automaton, and what all tables of one may take.
inline constexpr int kMaxAutomatonStates = 1 << 16;
inline constexpr size_t kMaxAutomatonBytes = size_t{12} << 20;

/// Every state of it leads to a text of the grammar. Throws GrammarError: no text matches, left recursion, recursion
/// below an intersection or difference, or beyond the limits (of work, too: at most about 0.2 s).
Automaton build_automaton(const Expressions& expressions, RuleId root);

}  // namespace echelon
