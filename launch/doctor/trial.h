// Tries the ways between ranks as a server would use them.
#pragma once

#include <string>

#include "launch/doctor/rank_facts.h"
#include "parallel/job.h"

namespace echelon {

/// All ranks, once a job: connects the control channel. Empty, or the fault.
std::string try_control(Job& job, int timeout_ms);
/// All ranks, once a job: a group of them all, and messages to and from the rank before this one. A wait of
/// `timeout_ms` is a fault.
LinkFacts try_link(Job& job, int timeout_ms);

}  // namespace echelon
