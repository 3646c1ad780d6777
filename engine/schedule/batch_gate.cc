#include "engine/schedule/batch_gate.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace echelon {
namespace {

int bits(int length) { return static_cast<int>(std::bit_width(static_cast<unsigned>(length))); }

}  // namespace

BatchGate::BatchGate(const BatchingOptions& options, int max_num_seqs)
    : options_(options),
      max_size_(options.max_batch_size > 0 ? std::min(options.max_batch_size, max_num_seqs) : max_num_seqs) {}

int BatchGate::max_running() const {
  return is_continuous() ? max_size_ : std::numeric_limits<int>::max();  // of groups several may run
}

bool BatchGate::lets_in(const Sequence& sequence) const {
  if (is_continuous() || sequence.admitted_before) return true;
  return num_left_ > 0 && (!options_.group_by_length || bits(sequence.num_prompt) == length_);
}

void BatchGate::note_started() {
  if (num_left_ > 0) --num_left_;
}

void BatchGate::open(const WaitingQueue& waiting, bool anything_runs, double now_s) {
  if (is_continuous()) return;
  const bool may_open = num_left_ == 0 && (options_.policy == Batching::dynamic || !anything_runs);
  if (num_left_ == 0 && !may_open) return;
  const int limit = may_open ? max_size_ : num_left_;
  int size = 0;
  double oldest_s = now_s;
  WaitingQueue::Order order(waiting);
  for (const Sequence* sequence = order.next(); sequence != nullptr && size < limit; sequence = order.next()) {
    if (sequence->admitted_before) continue;
    if (may_open && size == 0) length_ = bits(sequence->num_prompt);
    if (options_.group_by_length && bits(sequence->num_prompt) != length_) continue;
    ++size;
    oldest_s = std::min(oldest_s, sequence->added_s);
  }
  if (!may_open) {
    num_left_ = size;  // some may have been cancelled
  } else if (size == max_size_ || (size > 0 && now_s >= oldest_s + options_.max_wait_s)) {
    num_left_ = size;
  }
}

double BatchGate::wake_s(const WaitingQueue& waiting, double now_s) const {
  double wake_s = std::numeric_limits<double>::infinity();
  if (is_continuous()) return wake_s;
  waiting.each([&](const Sequence& sequence) {
    const double due_s = sequence.added_s + options_.max_wait_s;
    if (due_s > now_s) wake_s = std::min(wake_s, due_s);
    return true;
  });
  return wake_s;
}

}  // namespace echelon
