// What rank 0 knows of the stages at work: the ranks' statuses beside the time in which their replicas had something to
// do, and the last micro-batches of every stage. Times are told, in seconds of any clock that only goes forward.
//
// The engine's thread calls everything but trace(), which any thread may call.
#pragma once

#include <deque>
#include <mutex>
#include <vector>

#include "engine/engine_metrics.h"
#include "engine/rank_messages.h"
#include "parallel/layout.h"

namespace echelon {

/// Micro-batches that trace() tells of, for each replica.
inline constexpr size_t kTracedMicroBatches = 64;

class PipelineMonitor {
 public:
  PipelineMonitor(int num_replicas, int num_ranks);

  /// The ranks that serve a replica from now on, stage after stage, in each tp parts; none: nobody does.
  void set_team(int replica, const std::vector<int>& ranks, int tp);

  /// How many micro-batches of a replica are in flight from now on.
  void note_in_flight(int replica, int count, double now_s);
  /// A rank has spoken. The time that its message took counts as time of the micro-batches in it: to the second or so
  /// that a status is old, that is nothing.
  void note_status(int rank, const RankStatus& status, double now_s);

  /// Of the ranks that serve, each as of its last status.
  std::vector<RankMetrics> ranks() const;
  uint64_t num_in_flight() const;
  /// Of the time in which replicas had work, over all ranks since the start.
  double bubble_share() const;
  /// The rank that computed the largest share of its last second with work; -1 before there was any.
  int slowest_rank() const;

  /// The last micro-batches that every stage has told of, by replica and number. Up to about a second old.
  std::vector<TracedMicroBatch> trace(double now_s) const;

 private:
  struct ReplicaWork {
    int in_flight = 0;
    double active_seconds = 0, active_since = 0;
    double until(double now_s) const { return active_seconds + (in_flight > 0 ? now_s - active_since : 0.0); }
  };
  struct Span {
    int rows = 0;
    double begin_s = 0, end_s = 0;
  };
  /// The last micro-batches of a rank: consecutive plans from `first` on.
  struct Spans {
    uint64_t first = 0;
    std::deque<Span> spans;
    uint64_t end() const { return first + spans.size(); }
  };
  struct Team {
    std::vector<int> ranks;
    int tp = 1;
  };
  bool serves(int rank) const { return places_[static_cast<size_t>(rank)].dp >= 0; }
  void keep_spans(int rank, const RankStatus& status, double now_s);

  std::vector<Place> places_;  ///< by rank; dp -1: none
  std::vector<ReplicaWork> replicas_;
  std::vector<RankMetrics> ranks_;
  std::vector<double> serving_since_;  ///< by rank; negative before it is ready
  mutable std::mutex mutex_;
  std::vector<Spans> spans_;  ///< by rank; guarded by mutex_
  std::vector<Team> teams_;   ///< by replica; guarded by mutex_
};

}  // namespace echelon
