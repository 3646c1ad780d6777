// The sizes come from where the buffers are made: the window of a host's members, the pieces of a link.
#include "parallel/communicator_memory.h"

#include <algorithm>

#include "parallel/mpi/piece_sizes.h"
#include "parallel/shared_memory/window.h"

namespace echelon {

CommunicatorMemory communicator_memory(const std::vector<int>& members, int index,
                                       const std::vector<int>& host_of_rank) {
  constexpr uint64_t kLinkBytes = (mpi::kNumSendPieces + mpi::kNumReceivePieces) * mpi::kPieceBytes;
  const int host = host_of_rank.at(members.at(index));
  const auto num_here = static_cast<uint64_t>(
      std::count_if(members.begin(), members.end(), [&](int rank) { return host_of_rank.at(rank) == host; }));
  CommunicatorMemory memory{.window = 0, .links = (members.size() - num_here) * kLinkBytes};
  if (num_here > 1) {
    const uint64_t window = WindowSizes::for_members(static_cast<int>(num_here)).total_bytes();
    memory.window = (window + num_here - 1) / num_here;
  }
  return memory;
}

}  // namespace echelon
