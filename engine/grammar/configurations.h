// Runs an Automaton: all states that a text may have led to, each with the calls it is in, as one number. Numbers are
// given out when they are first reached and steps between them are remembered, so that walking the same ground again,
// which is what masking tokens does, is one look at a table.
//
// Not shared: each matcher has its own, and it grows with the ground covered.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"

namespace echelon {

using StackId = int32_t;
inline constexpr StackId kBottom = 0;

struct Configuration {
  int32_t state = 0;
  StackId stack = kBottom;
  bool operator==(const Configuration&) const = default;
  auto operator<=>(const Configuration&) const = default;
};

class Configurations {
 public:
  using Id = int32_t;  ///< of a set of configurations
  static constexpr Id kNone = -1;

  /// automaton is borrowed.
  explicit Configurations(const Automaton& automaton);
  Configurations(Configurations&&) = default;
  Configurations& operator=(Configurations&&) = default;
  Configurations(const Configurations&) = delete;  // extracted() copies what is needed
  Configurations& operator=(const Configurations&) = delete;

  /// The set of all that can be reached from these without a byte.
  Id closed(std::span<const Configuration> from);
  Id closed(Configuration from) { return closed(std::span(&from, 1)); }
  /// The set of just these, which are in order.
  Id just(std::span<const Configuration> configurations);
  /// kNone: no text goes on like this.
  Id step(Id from, uint8_t byte) {
    const uint8_t byte_class = automaton_->class_of[byte];
    const Id to = next_[static_cast<size_t>(from) * width_ + byte_class];
    return to != kUnknown ? to : find_step(from, byte_class);
  }
  /// A text may end here: the bottom of a stack was reached where a rule may end.
  bool may_end(Id id) const { return sets_[static_cast<size_t>(id)]->front().state == kMayEnd.state; }
  /// Those with a byte to take.
  std::span<const Configuration> configurations(Id id) const {
    return std::span(*sets_[static_cast<size_t>(id)]).subspan(may_end(id) ? 1 : 0);
  }
  /// Where a stack goes on when the rule on top of it ends. stack is not kBottom.
  Configuration caller(StackId stack) const {
    const Frame& frame = frames_[static_cast<size_t>(stack)];
    return {.state = frame.after, .stack = frame.below};
  }
  /// `id`'s set in an object without everything else; changes `id` to its number there.
  Configurations extracted(Id& id) const;
  size_t size_bytes() const { return bytes_; }

 private:
  static constexpr Id kUnknown = -2;
  static constexpr Configuration kMayEnd{.state = -1, .stack = kBottom};  ///< stands first in the sets that may end
  /// More configurations at a time, or calls in each other, are not followed: texts that need them are not allowed.
  static constexpr size_t kMaxConfigurations = 256;
  static constexpr int kMaxCallDepth = 512;

  using Set = std::vector<Configuration>;
  struct Frame {
    int32_t after = 0;
    StackId below = kBottom;
    int depth = 0;
  };
  struct SetHash {
    size_t operator()(const Set& set) const;
  };

  StackId push(int32_t after, StackId below);
  Id intern(Set set);
  Id find_step(Id from, uint8_t byte_class);

  const Automaton* automaton_;
  size_t width_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, StackId> stack_ids_;
  std::unordered_map<Set, Id, SetHash> set_ids_;
  std::vector<const Set*> sets_;  ///< keys of set_ids_
  std::vector<Id> next_;          ///< [set][class]
  std::vector<Configuration> open_, seen_;
  size_t bytes_ = 0;
};

}  // namespace echelon
