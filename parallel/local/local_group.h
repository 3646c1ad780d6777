// Ranks as threads of one process: the window's own code over ordinary memory. For tests, and for a single rank.
#pragma once

#include <memory>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/patience.h"
#include "parallel/shared_memory/window.h"

namespace echelon {

/// One communicator per rank; each may be used and destroyed by its own thread.
std::vector<std::unique_ptr<Communicator>> make_local_group(int num_ranks, WaitTimes times = {});
/// The same with a window of given sizes (small rings make wrap-around frequent). sizes.num_members ranks.
std::vector<std::unique_ptr<Communicator>> make_local_group(WindowSizes sizes, WaitTimes times);

/// The group of one: collectives copy.
std::unique_ptr<Communicator> make_group_of_one();

}  // namespace echelon
