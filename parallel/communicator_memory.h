// What the buffers of a communicator take, before one is made.
#pragma once

#include <cstdint>
#include <vector>

namespace echelon {

/// Bytes of one member. The sum over the members of a host is what the host gives.
struct CommunicatorMemory {
  uint64_t window = 0;  ///< this member's share of the shared memory of its host, rounded up
  uint64_t links = 0;   ///< to members on other hosts
  uint64_t total() const { return window + links; }
};

/// Of Job::make_communicator(members) on the rank members[index]; host_of_rank as in Layout.
CommunicatorMemory communicator_memory(const std::vector<int>& members, int index,
                                       const std::vector<int>& host_of_rank);

}  // namespace echelon
