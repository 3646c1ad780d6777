// Ranks as threads of one process: the window's own code over ordinary memory. For tests, and for a single rank.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/patience.h"
#include "parallel/shared_memory/window.h"

namespace echelon {

/// One communicator per rank; each may be used and destroyed by its own thread.
std::vector<std::unique_ptr<Communicator>> make_local_group(int num_ranks, WaitTimes times = {});
/// The same with a window of given sizes (small rings make wrap-around frequent). sizes.num_members ranks.
std::vector<std::unique_ptr<Communicator>> make_local_group(WindowSizes sizes, WaitTimes times);

/// The groups of a job whose ranks are threads of one process.
class LocalGroups {
 public:
  /// For the thread of `rank`; this outlives it. The first member of a group makes all its ends and waits for nobody.
  MakeGroup maker(int rank, WaitTimes times = {});

 private:
  std::mutex mutex_;
  std::map<GroupId, std::vector<std::unique_ptr<Communicator>>>
      groups_;  // ends that nobody has taken; guarded by mutex_
};

/// The group of one: collectives copy.
std::unique_ptr<Communicator> make_group_of_one();

}  // namespace echelon
