// The data plane: moves bytes between the ranks of a group and adds nothing. Waits never hang: each has a deadline and
// can be abandoned from another thread.
//
// One thread per rank calls everything but abandon(). Every rank of the group makes the same sequence of calls with
// matching sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace echelon {

/// A wait that ended without its data: deadline passed, abandoned, or the peer is gone. Names operation, peer and
/// milliseconds.
class CommunicatorError : public Error {
 public:
  using Error::Error;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;  ///< inside the group
  virtual int size() const = 0;

  /// Queues the bytes for `peer`; the span is free again on return. Blocks only while more than the window's capacity
  /// is unread.
  virtual void send(int peer, std::span<const std::byte> bytes) = 0;
  /// The next bytes from `peer`, in order of sending; out.size() is the size that was sent (checked).
  virtual void receive(int peer, std::span<std::byte> out) = 0;
  /// out[r] receives rank r's bytes (sizes may differ between ranks, both sides know them); out[rank()] receives
  /// `mine`. A group of one copies.
  virtual void all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) = 0;
  /// Rank r's out[q] <- rank q's mine[r]. For large exchanges in which every rank reduces a slice.
  virtual void all_to_all(std::span<const std::span<const std::byte>> mine,
                          std::span<const std::span<std::byte>> out) = 0;

  /// Some transports move bytes inside of calls only: whoever has sent, and waits for something else, calls this
  /// meanwhile. False when nothing that was sent is on its way any more.
  virtual bool progress() { return false; }

  /// From any thread: every present and future wait throws CommunicatorError.
  virtual void abandon(const std::string& reason) = 0;
};

/// Tells the groups of a job apart: no two have the same, whenever they are made.
struct GroupId {
  uint32_t epoch = 0;
  uint32_t index = 0;  ///< at most kMaxRanks
  auto operator<=>(const GroupId&) const = default;
};

/// Makes this rank's end of a group: every member calls it with the same list of ranks, whose places in the list are
/// the ranks in the group, and with the same id. Returns when the members of this host have met. Throws
/// CommunicatorError at its deadline, and soon after a stop is requested (by any thread).
using MakeGroup =
    std::function<std::unique_ptr<Communicator>(const std::vector<int>& members, GroupId id, std::stop_token given_up)>;

}  // namespace echelon
