#include "engine/grammar/automaton.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/grammar/nfa.h"

namespace echelon {
namespace {

/// The automaton of all rules, not yet cleared of what leads nowhere.
struct Draft {
  Automaton automaton;
  std::vector<int32_t> rule_starts;
  std::vector<int32_t> called_rules;  ///< of automaton.calls
};

Draft draft_automaton(const Expressions& expressions, RuleId root, WorkBudget& budget) {
  const ByteClasses classes(expressions.nodes());
  NfaBuilder builder(expressions, classes, false, budget);
  std::vector<int32_t> starts, ends;
  for (RuleId rule = 0; rule < expressions.num_rules(); ++rule) {
    if (expressions.body(rule) < 0)
      throw GrammarError(fmt::format("rule \"{}\" is not defined", expressions.name(rule)));
    const NfaBuilder::Fragment fragment = builder.add(expressions.body(rule));
    starts.push_back(fragment.begin);
    ends.push_back(fragment.end);
  }
  Dfa dfa = determinize(builder.nfa(), classes.size(), starts, ends, budget);
  Draft draft;
  Automaton& automaton = draft.automaton;
  automaton.class_of = classes.class_of();
  automaton.num_classes = classes.size();
  automaton.next = std::move(dfa.next);
  automaton.accepting = std::move(dfa.accepting);
  automaton.start = dfa.starts[static_cast<size_t>(root)];
  automaton.first_call.assign(automaton.accepting.size() + 1, 0);
  for (const Dfa::Call& call : dfa.calls) {
    ++automaton.first_call[static_cast<size_t>(call.state) + 1];
    automaton.calls.push_back({.start = dfa.starts[static_cast<size_t>(call.rule)], .after = call.after});
    draft.called_rules.push_back(call.rule);
  }
  std::partial_sum(automaton.first_call.begin(), automaton.first_call.end(), automaton.first_call.begin());
  draft.rule_starts = std::move(dfa.starts);
  return draft;
}

/// States from which a text of the rule can be finished.
std::vector<uint8_t> live_states(const Automaton& automaton, WorkBudget& budget) {
  const auto width = static_cast<size_t>(automaton.num_classes);
  const auto num_states = static_cast<size_t>(automaton.num_states());
  std::vector<uint8_t> live(automaton.accepting);
  // Backwards along bytes in one go, then along calls, until nothing is added.
  std::vector<std::vector<int32_t>> before(num_states);
  for (size_t state = 0; state < num_states; ++state) {
    int32_t last = Automaton::kDead;
    for (size_t c = 0; c < width; ++c) {
      const int32_t to = automaton.next[state * width + c];
      if (to >= 0 && to != last) before[static_cast<size_t>(to)].push_back(static_cast<int32_t>(state));
      last = to;
    }
  }
  std::vector<int32_t> open;
  for (size_t state = 0; state < num_states; ++state) {
    if (live[state] != 0) open.push_back(static_cast<int32_t>(state));
  }
  for (bool changed = true; changed;) {
    while (!open.empty()) {
      const int32_t state = open.back();
      open.pop_back();
      for (const int32_t from : before[static_cast<size_t>(state)]) {
        if (std::exchange(live[static_cast<size_t>(from)], 1) == 0) open.push_back(from);
      }
    }
    budget.spend(automaton.num_states());
    for (size_t state = 0; state < num_states; ++state) {
      if (live[state] != 0) continue;
      for (const Automaton::Call& call : automaton.calls_of(static_cast<int32_t>(state))) {
        if (live[static_cast<size_t>(call.start)] == 0 || live[static_cast<size_t>(call.after)] == 0) continue;
        live[state] = 1;
        open.push_back(static_cast<int32_t>(state));
        break;
      }
    }
    changed = !open.empty();
  }
  return live;
}

void remove_dead(Automaton& automaton, std::vector<int32_t>& called_rules, WorkBudget& budget) {
  const std::vector<uint8_t> live = live_states(automaton, budget);
  if (live[static_cast<size_t>(automaton.start)] == 0) throw NoTextError("the grammar matches no text");
  for (int32_t& to : automaton.next) {
    if (to >= 0 && live[static_cast<size_t>(to)] == 0) to = Automaton::kDead;
  }
  std::vector<Automaton::Call> calls;
  std::vector<int32_t> rules, first_call{0};
  for (int32_t state = 0; state < automaton.num_states(); ++state) {
    for (int32_t i = automaton.first_call[state]; i < automaton.first_call[state + 1]; ++i) {
      const Automaton::Call& call = automaton.calls[static_cast<size_t>(i)];
      if (live[static_cast<size_t>(call.start)] == 0 || live[static_cast<size_t>(call.after)] == 0) continue;
      calls.push_back(call);
      rules.push_back(called_rules[static_cast<size_t>(i)]);
    }
    first_call.push_back(static_cast<int32_t>(calls.size()));
  }
  automaton.calls = std::move(calls);
  automaton.first_call = std::move(first_call);
  called_rules = std::move(rules);
}

void mark_states_and_calls(Automaton& automaton) {
  const auto width = static_cast<size_t>(automaton.num_classes);
  for (size_t state = 0; state < automaton.accepting.size(); ++state) {
    const auto row = std::span(automaton.next).subspan(state * width, width);
    automaton.takes_bytes.push_back(std::any_of(row.begin(), row.end(), [](int32_t to) { return to >= 0; }));
  }
  for (Automaton::Call& call : automaton.calls) {
    const auto after = static_cast<size_t>(call.after);
    call.is_tail =
        automaton.accepting[after] != 0 && automaton.takes_bytes[after] == 0 && automaton.calls_of(call.after).empty();
  }
}

/// A rule that calls itself before it has taken a byte would be called without end.
void refuse_left_recursion(const Draft& draft, const Expressions& expressions, WorkBudget& budget) {
  const Automaton& automaton = draft.automaton;
  const auto num_rules = draft.rule_starts.size();
  // States that a rule reaches without a byte, and the rules it calls there.
  std::vector<uint8_t> nullable(num_rules, 0);
  std::vector<std::vector<int32_t>> calls(num_rules);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t rule = 0; rule < num_rules; ++rule) {
      std::vector<int32_t> open{draft.rule_starts[rule]}, seen;
      calls[rule].clear();
      bool may_be_empty = false;
      while (!open.empty()) {
        const int32_t state = open.back();
        open.pop_back();
        if (std::find(seen.begin(), seen.end(), state) != seen.end()) continue;
        budget.spend(static_cast<int64_t>(seen.size()) + 1);
        seen.push_back(state);
        may_be_empty |= automaton.accepting[static_cast<size_t>(state)] != 0;
        for (int32_t i = automaton.first_call[state]; i < automaton.first_call[state + 1]; ++i) {
          const int32_t called = draft.called_rules[static_cast<size_t>(i)];
          calls[rule].push_back(called);
          if (nullable[static_cast<size_t>(called)] != 0) open.push_back(automaton.calls[static_cast<size_t>(i)].after);
        }
      }
      if (may_be_empty && nullable[rule] == 0) nullable[rule] = changed = true;
    }
  }
  enum class Mark : uint8_t { unseen, open, done };
  std::vector<Mark> marks(num_rules, Mark::unseen);
  const auto visit = [&](const auto& self, size_t rule) -> void {
    if (marks[rule] == Mark::done) return;
    if (marks[rule] == Mark::open)
      throw GrammarError(fmt::format("rule \"{}\" is left-recursive", expressions.name(static_cast<RuleId>(rule))));
    marks[rule] = Mark::open;
    for (const int32_t called : calls[rule]) self(self, static_cast<size_t>(called));
    marks[rule] = Mark::done;
  };
  for (size_t rule = 0; rule < num_rules; ++rule) visit(visit, rule);
}

}  // namespace

Automaton build_automaton(const Expressions& expressions, RuleId root) {
  WorkBudget budget;
  Draft draft = draft_automaton(expressions, root, budget);
  remove_dead(draft.automaton, draft.called_rules, budget);
  refuse_left_recursion(draft, expressions, budget);
  mark_states_and_calls(draft.automaton);
  return std::move(draft.automaton);
}

}  // namespace echelon
