#include "engine/grammar/configurations.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace echelon {

size_t Configurations::SetHash::operator()(const Set& set) const {
  uint64_t hash = set.size();
  for (const Configuration& each : set) {
    hash ^= static_cast<uint64_t>(static_cast<uint32_t>(each.state)) << 32 | static_cast<uint32_t>(each.stack);
    hash *= 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return static_cast<size_t>(hash);
}

Configurations::Configurations(const Automaton& automaton)
    : automaton_(&automaton), width_(static_cast<size_t>(automaton.num_classes)), frames_(1) {}

StackId Configurations::push(int32_t after, StackId below) {
  const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(after)) << 32 | static_cast<uint32_t>(below);
  const auto [found, is_new] = stack_ids_.try_emplace(key, static_cast<StackId>(frames_.size()));
  if (is_new) {
    frames_.push_back({.after = after, .below = below, .depth = frames_[static_cast<size_t>(below)].depth + 1});
    bytes_ += sizeof(Frame) + 48;
  }
  return found->second;
}

Configurations::Id Configurations::intern(Set set) {
  if (set.empty()) return kNone;
  const auto [found, is_new] = set_ids_.try_emplace(std::move(set), static_cast<Id>(sets_.size()));
  if (is_new) {
    sets_.push_back(&found->first);
    next_.resize(next_.size() + width_, kUnknown);
    bytes_ += width_ * sizeof(Id) + found->first.size() * sizeof(Configuration) + 80;
  }
  return found->second;
}

Configurations::Id Configurations::just(std::span<const Configuration> configurations) {
  return intern(Set(configurations.begin(), configurations.end()));
}

Configurations::Id Configurations::closed(std::span<const Configuration> from) {
  open_.assign(from.begin(), from.end());
  seen_.clear();
  Set set;
  bool may_end = false;
  while (!open_.empty() && seen_.size() < kMaxConfigurations) {
    const Configuration at = open_.back();
    open_.pop_back();
    if (std::find(seen_.begin(), seen_.end(), at) != seen_.end()) continue;
    seen_.push_back(at);
    const auto state = static_cast<size_t>(at.state);
    if (automaton_->takes_bytes[state] != 0) set.push_back(at);
    if (automaton_->accepting[state] != 0) {
      if (at.stack == kBottom) {
        may_end = true;
      } else {
        open_.push_back(caller(at.stack));
      }
    }
    if (frames_[static_cast<size_t>(at.stack)].depth >= kMaxCallDepth) continue;
    for (const Automaton::Call& call : automaton_->calls_of(at.state))
      open_.push_back({.state = call.start, .stack = call.is_tail ? at.stack : push(call.after, at.stack)});
  }
  if (may_end) set.push_back(kMayEnd);
  std::sort(set.begin(), set.end());
  return intern(std::move(set));
}

Configurations::Id Configurations::find_step(Id from, uint8_t byte_class) {
  std::vector<Configuration> reached;
  for (const Configuration& each : configurations(from)) {
    const int32_t to = automaton_->next[static_cast<size_t>(each.state) * width_ + byte_class];
    if (to != Automaton::kDead) reached.push_back({.state = to, .stack = each.stack});
  }
  const Id to = reached.empty() ? kNone : closed(reached);
  next_[static_cast<size_t>(from) * width_ + byte_class] = to;
  return to;
}

Configurations Configurations::extracted(Id& id) const {
  Configurations fresh(*automaton_);
  const auto copy_stack = [&](StackId stack) {
    std::vector<int32_t> afters;
    for (; stack != kBottom; stack = caller(stack).stack) afters.push_back(caller(stack).state);
    StackId copied = kBottom;
    for (auto after = afters.rbegin(); after != afters.rend(); ++after) copied = fresh.push(*after, copied);
    return copied;
  };
  Set set;
  for (const Configuration& each : *sets_[static_cast<size_t>(id)])
    set.push_back({.state = each.state, .stack = copy_stack(each.stack)});
  std::sort(set.begin(), set.end());
  id = fresh.intern(std::move(set));
  return fresh;
}

}  // namespace echelon
