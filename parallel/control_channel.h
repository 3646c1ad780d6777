// The control plane: plans from rank 0 to every rank, results back, heartbeats both ways. A star with rank 0 in the
// middle. Small messages, in order between two ranks, never lost silently: a lost peer is reported once, with a reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace echelon {

/// What a message is; the payload of each kind belongs to the engine (engine/schedule, engine/stage).
enum class MessageKind : uint8_t {
  hello = 1,
  heartbeat,
  bye,          // of the channel itself
  plan,         // a micro-batch
  layers_done,  // of a micro-batch: its result follows soon
  result,       // sampled tokens
  status,       // a rank's state while loading, its memory, its metrics
  stop,
  failure,  // of a rank, or the end of the job: with a cause
  masks,    // which tokens the rows of a micro-batch may sample
  assign,   // what a rank is from now on
  start,    // how a replica starts
  fence,    // an epoch is over
  reap,     // `number` is a lost rank of the receiver's host
  broken,   // of an epoch: a wait for a peer ended without it, with a cause
};

struct ControlMessage {
  MessageKind kind{};
  uint32_t epoch = 0;   ///< of the replica; messages of a fenced epoch are dropped by the receiver's engine
  uint64_t number = 0;  ///< of the plan, or of whatever the kind counts
  std::vector<std::byte> payload;
};

/// One end of the star. send() and close() may be called from any thread; handlers run on the channel's own thread, one
/// at a time, but for messages to oneself, and must not block.
class ControlChannel {
 public:
  struct Handlers {
    std::function<void(int rank, ControlMessage message)> on_message;
    std::function<void(int rank, const std::string& reason)> on_lost;  ///< once per rank; on a worker: rank 0 is gone
    std::function<void(const std::string& reason)> on_dropped;         ///< on a worker: rank 0 lives, and gave it up
  };
  virtual ~ControlChannel() = default;
  virtual void start(Handlers handlers) = 0;
  /// To `rank` (a worker may only send to rank 0). Ignored after that rank is lost. A message to oneself is handed to
  /// on_message here, before send() returns: a step of a rank that is alone would wait for two more threads to wake.
  virtual void send(int rank, ControlMessage message) = 0;
  /// Rank 0 gives up a worker: on_lost is called, if it has not been, and the worker sees its connection end.
  virtual void drop(int rank, const std::string& reason) = 0;
  /// Says goodbye (so that no peer reports a loss) and stops the thread.
  virtual void close() = 0;
};

}  // namespace echelon
