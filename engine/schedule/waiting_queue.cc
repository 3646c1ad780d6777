#include "engine/schedule/waiting_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "kernels/base/check.h"

namespace echelon {

void WaitingQueue::enter(TenantId tenant, int weight) {
  ECHELON_CHECK(weight >= 1 && weight <= kMaxTenantWeight);
  const auto [entry, is_new] = tenants_.try_emplace(tenant);
  if (is_new && tenants_.size() > 1) {
    int64_t least = INT64_MAX;
    for (const auto& [other, state] : tenants_) {
      if (other != tenant) least = std::min(least, state.served);
    }
    entry->second.served = least;
  }
  entry->second.weight = weight;
  ++entry->second.num_sequences;
}

void WaitingQueue::leave(TenantId tenant) {
  const auto found = tenants_.find(tenant);
  ECHELON_CHECK(found != tenants_.end());
  if (--found->second.num_sequences == 0) tenants_.erase(found);
}

void WaitingQueue::insert(Sequence* sequence) {
  size_ += classes_[sequence->priority][sequence->tenant].insert(sequence).second ? 1 : 0;
}

void WaitingQueue::erase(Sequence* sequence) {
  const auto of_class = classes_.find(sequence->priority);
  ECHELON_CHECK(of_class != classes_.end());
  const auto of_tenant = of_class->second.find(sequence->tenant);
  ECHELON_CHECK(of_tenant != of_class->second.end() && of_tenant->second.erase(sequence) == 1);
  --size_;
  if (of_tenant->second.empty()) of_class->second.erase(of_tenant);
  if (of_class->second.empty()) classes_.erase(of_class);
}

void WaitingQueue::start(Sequence* sequence) {
  if (sequence->is_background()) return erase(sequence);
  const int best = classes_.begin()->first;
  const size_t num_classes = classes_.size() - classes_.count(kBackgroundPriority);
  const bool is_other = sequence->priority != best;
  starts_before_others_ = is_other || num_classes == 1 ? 0 : starts_before_others_ + 1;
  erase(sequence);
  sequence->priority = best;
}

bool WaitingQueue::contains(const Sequence* sequence) const {
  const auto of_class = classes_.find(sequence->priority);
  if (of_class == classes_.end()) return false;
  const auto of_tenant = of_class->second.find(sequence->tenant);
  return of_tenant != of_class->second.end() && of_tenant->second.contains(const_cast<Sequence*>(sequence));
}

WaitingQueue::Order::Order(const WaitingQueue& queue) : queue_(queue) {
  if (!open_class(queue.classes_.begin()) || queue.starts_before_others_ < kTurnOfOthers - 1) return;
  const auto background = queue.classes_.find(kBackgroundPriority);  // has no turn: it takes what is left
  if (queue.classes_.begin() == background) return;
  for (auto other = std::next(queue.classes_.begin()); other != background; ++other) {
    for (const auto& [tenant, sequences] : other->second) {
      Sequence* const oldest = *sequences.begin();
      if (turn_ == nullptr || oldest->order < turn_->order) turn_ = oldest;
    }
  }
}

bool WaitingQueue::Order::open_class(std::map<int, OfClass>::const_iterator of_class) {
  if (of_class == queue_.classes_.end()) return false;
  priority_ = of_class->first;
  for (const auto& [tenant, sequences] : of_class->second) {
    heads_.push_back({queue_.tenants_.at(tenant), sequences.begin(), sequences.end()});
  }
  std::make_heap(heads_.begin(), heads_.end());
  return true;
}

Sequence* WaitingQueue::Order::next() {
  if (turn_ != nullptr) return std::exchange(turn_, nullptr);
  if (heads_.empty() && !open_class(queue_.classes_.upper_bound(priority_))) return nullptr;
  std::pop_heap(heads_.begin(), heads_.end());
  Head& head = heads_.back();
  Sequence* const first = *head.sequence;
  head.tenant.charge(first->num_pending());
  if (++head.sequence == head.end) {
    heads_.pop_back();
  } else {
    std::push_heap(heads_.begin(), heads_.end());
  }
  return first;
}

}  // namespace echelon
