// A communicator over a window. Streams go through the rings; all_gather and small all_to_all go through the slots:
// each rank writes its part once and publishes a count, 0.2-0.5 us for 2 KB where every rank has a core.
#pragma once

#include <memory>
#include <vector>

#include "parallel/shared_memory/shared_memory.h"
#include "parallel/shared_memory/window.h"
#include "parallel/stream_communicator.h"

namespace echelon {

/// One end of the rings between two members. Window and memory outlive it.
class WindowLink : public Link {
 public:
  WindowLink(const Window& window, int member, int peer);
  size_t try_send(std::span<const std::byte> head, std::span<const std::byte> body) override;
  size_t try_receive(std::span<std::byte> out) override;

 private:
  [[noreturn]] void peer_gone(const char* operation) const;
  [[noreturn]] void damaged(const char* what, uint64_t theirs, uint64_t ours) const;

  const Window& window_;
  const int member_, peer_;
  Ring &outgoing_, &incoming_;
  std::byte *outgoing_data_, *incoming_data_;
  uint64_t head_ = 0, tail_ = 0;  // own counts; those in the window are for the peer
};

/// Sleeps on this member's bell.
class BellSleeper : public Sleeper {
 public:
  explicit BellSleeper(Bell& bell) : bell_(bell) {}
  void arm() override;
  void sleep(int at_most_ms) override;
  void disarm() override;
  void wake() override;

 private:
  Bell& bell_;
  uint32_t seen_ = 0;
};

class WindowCommunicator : public StreamCommunicator {
 public:
  /// `memory` (owners: the communicators of one process that map it) holds a window of `sizes`; this is member `rank`.
  WindowCommunicator(std::shared_ptr<SharedMemory> memory, WindowSizes sizes, int rank, WaitTimes times);
  /// Tells the members that this one is gone; what it has sent can still be read.
  ~WindowCommunicator() override;

  void all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) override;
  void all_to_all(std::span<const std::span<const std::byte>> mine, std::span<const std::span<std::byte>> out) override;
  void abandon(const std::string& reason) override;

 private:
  struct Mapping {
    std::shared_ptr<SharedMemory> memory;
    Window window;
  };
  WindowCommunicator(std::unique_ptr<Mapping> mapping, int rank, WaitTimes times);
  static std::vector<std::unique_ptr<Link>> make_links(const Window& window, int rank);
  void publish_round();
  /// Waits until `peer` has published the current round.
  void wait_for_round(int peer, const char* operation);
  template <class Bytes>
  Bytes piece(Bytes whole, uint64_t offset) const;
  /// all_to_all of two members.
  void swap(int peer, std::span<const std::byte> mine, std::span<std::byte> theirs);
  void gather_round(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out, uint64_t offset);
  void close();

  std::unique_ptr<Mapping> mapping_;
  const Window& window_;
  uint64_t round_ = 0;  // collectives through the slots so far
};

}  // namespace echelon
