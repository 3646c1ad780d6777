// Those that are told why they may not come in are few, whoever sends them: else they would be the attack.
#include "frontend/http/admission.h"

namespace echelon {
namespace {

constexpr size_t kMostTold = 64;  ///< at the same time

}  // namespace

Admission::Ticket Admission::admit(std::string address) {
  const std::lock_guard lock(mutex_);
  Verdict verdict = Verdict::serve;
  if (served_ >= most_) verdict = Verdict::too_many;
  if (most_of_address_ == 0) address.clear();
  if (verdict == Verdict::serve && !address.empty()) {
    const auto found = served_of_.find(address);
    if (found != served_of_.end() && found->second >= most_of_address_) verdict = Verdict::too_many_of_address;
  }
  if (verdict != Verdict::serve && told_ >= kMostTold) return {nullptr, {}, Verdict::drop};
  if (verdict == Verdict::serve) {
    ++served_;
    if (!address.empty()) ++served_of_[address];
  } else {
    ++told_;
  }
  return {this, std::move(address), verdict};
}

void Admission::leave(const Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  if (ticket.verdict_ != Verdict::serve) {
    --told_;
    return;
  }
  --served_;
  if (ticket.address_.empty()) return;
  const auto found = served_of_.find(ticket.address_);
  if (--found->second == 0) served_of_.erase(found);
}

}  // namespace echelon
