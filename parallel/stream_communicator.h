// A communicator over one byte stream per peer, whatever carries the stream. Messages are framed here: a header with
// their size and number goes before the bytes, so that a mismatch between two ranks is an error and not a shifted
// stream.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/patience.h"

namespace echelon {

/// This rank's end of the byte streams to and from one peer. Never blocks. Throws CommunicatorError when the peer is
/// gone or what it wrote cannot be.
class Link {
 public:
  virtual ~Link() = default;
  /// Takes a prefix of `head` followed by `body`; returns how many bytes were taken.
  virtual size_t try_send(std::span<const std::byte> head, std::span<const std::byte> body) = 0;
  /// Fills a prefix of `out`; returns how many bytes came.
  virtual size_t try_receive(std::span<std::byte> out) = 0;
  /// As Communicator::progress().
  virtual bool progress() { return false; }
};

inline constexpr size_t kStreamHeaderBytes = 16;

class StreamCommunicator : public Communicator {
 public:
  /// `links[r]` leads to rank r of the group; null for `rank` itself. `sleeper` wakes when any of the links may have
  /// moved.
  StreamCommunicator(int rank, std::vector<std::unique_ptr<Link>> links, std::unique_ptr<Sleeper> sleeper,
                     WaitTimes times);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(links_.size()); }
  void send(int peer, std::span<const std::byte> bytes) override;
  void receive(int peer, std::span<std::byte> out) override;
  void all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) override;
  void all_to_all(std::span<const std::span<const std::byte>> mine, std::span<const std::span<std::byte>> out) override;
  bool progress() override;
  void abandon(const std::string& reason) override;

 protected:
  struct Outgoing {
    int peer;
    std::span<const std::byte> body;
    std::array<std::byte, kStreamHeaderBytes> head{};
    size_t num_done = 0;
    bool done() const { return num_done == head.size() + body.size(); }
  };
  struct Incoming {
    int peer;
    std::span<std::byte> body;
    std::array<std::byte, kStreamHeaderBytes> head{};
    size_t num_done = 0;
    bool done() const { return num_done == head.size() + body.size(); }
  };
  Outgoing outgoing(int peer, std::span<const std::byte> body);
  /// Moves all of both until done; sends and receives progress together, so that no ring that is full can lock two
  /// ranks.
  void exchange(std::span<Outgoing> sends, std::span<Incoming> receives, const char* operation);
  void check_shape(size_t num_mine, size_t num_out) const;

  Patience patience_;

 private:
  bool push(Outgoing& message);
  bool pull(Incoming& message);

  const int rank_;
  std::unique_ptr<Sleeper> sleeper_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<uint32_t> num_sent_, num_received_;  // messages per peer
  std::vector<Outgoing> sends_;                    // reused: no allocation in a step after warm-up
  std::vector<Incoming> receives_;
};

/// Copies unless both are the same memory; sizes must be equal.
void copy_own_part(std::span<const std::byte> from, std::span<std::byte> to);

}  // namespace echelon
