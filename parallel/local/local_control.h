// The control channel between threads of one process: a star of queues. For tests of the engine, and for a single rank.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "parallel/control_channel.h"

namespace echelon {

/// The ends of a star, by rank; each may be used and destroyed by its own thread, and has a thread of its own after
/// start(). An end that is destroyed without close() says goodbye as well.
std::vector<std::unique_ptr<ControlChannel>> make_local_control(int num_ranks);

/// For tests: `end` (from make_local_control) dies without a goodbye: its neighbours see a loss with this reason, and
/// it sends and hears nothing more.
void break_local_control(ControlChannel& end, const std::string& reason);

}  // namespace echelon
