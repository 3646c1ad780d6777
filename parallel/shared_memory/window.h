// What lies where in a window: a bell per member, a ring of bytes per ordered pair of members, and two slots per member
// for small collectives. Everything read from it is checked: a broken peer can end a wait with an error, but not make
// this rank read or write outside the window.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace echelon {

inline constexpr size_t kCacheLine = 64;
inline constexpr uint64_t kSlotHeaderBytes = 8;

/// Sizes of a window; every member computes or is told the same.
struct WindowSizes {
  int num_members = 0;
  uint64_t ring_bytes = 0;  ///< a power of two; bytes in flight from one member to another
  uint64_t slot_bytes = 0;  ///< a multiple of 64; the largest part that all_gather moves in one round

  /// Rings of 256 KiB, smaller where many members would make the window large; slots of 64 KiB.
  static WindowSizes for_members(int num_members);
  uint64_t total_bytes() const;
};

/// One per member: it sleeps on `word`; others ring after they have moved something for it.
struct alignas(kCacheLine) Bell {
  std::atomic<uint32_t> word;
  std::atomic<uint32_t> asleep;
  std::atomic<uint32_t> closed;  ///< the member will neither write nor read again
};

/// Counts only grow. `head` is written by the sender, `tail` by the receiver.
struct Ring {
  alignas(kCacheLine) std::atomic<uint64_t> head;
  alignas(kCacheLine) std::atomic<uint64_t> tail;
};

/// How many rounds a member has published.
struct alignas(kCacheLine) SlotCount {
  std::atomic<uint64_t> published;
};

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

/// Addresses inside a window; a view, the memory is someone else's and zeroed before the first use.
class Window {
 public:
  /// `memory` must hold sizes.total_bytes() and begin on a cache line.
  Window(std::byte* memory, WindowSizes sizes);

  const WindowSizes& sizes() const { return sizes_; }
  std::atomic<uint32_t>& num_opened() const;
  Bell& bell(int member) const;
  Ring& ring(int from, int to) const;
  std::byte* ring_data(int from, int to) const;
  SlotCount& slot_count(int member) const;
  /// Slot of one round: kSlotHeaderBytes, then slot_bytes. Two members swap their slots from round to round: each
  /// writes where it has just read, in lines that its core owns already (one transfer of a line instead of two).
  /// More than two have two slots each, in turn.
  std::byte* slot(int member, uint64_t round) const;

  /// Wakes the member if it sleeps. Called after what it may be waiting for has been stored (sequentially consistent).
  void ring_bell(int member) const;
  void ring_all_bells(int except) const;

 private:
  uint64_t ring_index(int from, int to) const;

  std::byte* memory_;
  WindowSizes sizes_;
};

void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, int at_most_ms);
void futex_wake(std::atomic<uint32_t>& word);

}  // namespace echelon
