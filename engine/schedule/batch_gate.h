// Which waiting sequences may start now, by BatchingOptions. No clock, one thread.
#pragma once

#include "engine/batching.h"
#include "engine/schedule/waiting_queue.h"

namespace echelon {

class BatchGate {
 public:
  /// max_num_seqs: that the scheduler can run.
  BatchGate(const BatchingOptions& options, int max_num_seqs);

  /// Sequences that may run at a time.
  int max_running() const;
  /// Opens the next group when it is due: what the first in the queue is like, its group is like. O(waiting).
  void open(const WaitingQueue& waiting, bool anything_runs, double now_s);
  /// Those that started before and were preempted go on in any case.
  bool lets_in(const Sequence& sequence) const;
  /// One of the group has started for the first time.
  void note_started();
  /// When a group may be due though nothing has happened since now_s; infinity: none will be.
  double wake_s(const WaitingQueue& waiting, double now_s) const;

 private:
  bool is_continuous() const { return options_.policy == Batching::continuous; }
  BatchingOptions options_;
  int max_size_;
  int num_left_ = 0;  ///< of the group, that are to start
  int length_ = 0;    ///< of its prompts, in bits; with group_by_length
};

}  // namespace echelon
