// Addresses in the window, and the futex calls (shared ones: they work between processes and inside one).
#include "parallel/shared_memory/window.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <climits>
#include <ctime>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr uint64_t kPreferredRingBytes = uint64_t{256} << 10;
constexpr uint64_t kSmallestRingBytes = uint64_t{16} << 10;
constexpr uint64_t kPreferredRingsTotal = uint64_t{32} << 20;
constexpr uint64_t kPreferredSlotBytes = uint64_t{64} << 10;
constexpr uint64_t kSlotBytesOfTwo = uint64_t{32} << 10;  ///< rounds follow each other as fast as longer ones; Zen 4
constexpr uint64_t kHeaderBytes = kCacheLine;

uint64_t slot_stride(const WindowSizes& sizes) { return sizes.slot_bytes + kCacheLine; }

uint64_t bells_at() { return kHeaderBytes; }
uint64_t counts_at(const WindowSizes& sizes) { return bells_at() + sizes.num_members * sizeof(Bell); }
uint64_t rings_at(const WindowSizes& sizes) { return counts_at(sizes) + sizes.num_members * sizeof(SlotCount); }
uint64_t num_rings(const WindowSizes& sizes) { return uint64_t(sizes.num_members) * (sizes.num_members - 1); }
uint64_t ring_data_at(const WindowSizes& sizes) { return rings_at(sizes) + num_rings(sizes) * sizeof(Ring); }
uint64_t slots_at(const WindowSizes& sizes) { return ring_data_at(sizes) + num_rings(sizes) * sizes.ring_bytes; }

}  // namespace

WindowSizes WindowSizes::for_members(int num_members) {
  WindowSizes sizes{.num_members = num_members,
                    .ring_bytes = kPreferredRingBytes,
                    .slot_bytes = num_members == 2 ? kSlotBytesOfTwo : kPreferredSlotBytes};
  while (sizes.ring_bytes > kSmallestRingBytes && num_rings(sizes) * sizes.ring_bytes > kPreferredRingsTotal)
    sizes.ring_bytes /= 2;
  return sizes;
}

uint64_t WindowSizes::total_bytes() const { return slots_at(*this) + uint64_t(num_members) * 2 * slot_stride(*this); }

Window::Window(std::byte* memory, WindowSizes sizes) : memory_(memory), sizes_(sizes) {
  ECHELON_CHECK(sizes.num_members >= 1 && sizes.num_members <= kMaxRanks);
  ECHELON_CHECK(std::has_single_bit(sizes.ring_bytes) && sizes.ring_bytes >= kCacheLine &&
                sizes.ring_bytes <= UINT32_MAX);
  ECHELON_CHECK(sizes.slot_bytes % kCacheLine == 0 && sizes.slot_bytes > 0 && sizes.slot_bytes <= UINT32_MAX);
  ECHELON_CHECK(reinterpret_cast<uintptr_t>(memory) % kCacheLine == 0);
}

std::atomic<uint32_t>& Window::num_opened() const { return *reinterpret_cast<std::atomic<uint32_t>*>(memory_); }

Bell& Window::bell(int member) const { return reinterpret_cast<Bell*>(memory_ + bells_at())[member]; }

SlotCount& Window::slot_count(int member) const {
  return reinterpret_cast<SlotCount*>(memory_ + counts_at(sizes_))[member];
}

uint64_t Window::ring_index(int from, int to) const {
  ECHELON_CHECK(from != to && from >= 0 && to >= 0 && from < sizes_.num_members && to < sizes_.num_members);
  return uint64_t(from) * (sizes_.num_members - 1) + (to < from ? to : to - 1);
}

Ring& Window::ring(int from, int to) const {
  return reinterpret_cast<Ring*>(memory_ + rings_at(sizes_))[ring_index(from, to)];
}

std::byte* Window::ring_data(int from, int to) const {
  return memory_ + ring_data_at(sizes_) + ring_index(from, to) * sizes_.ring_bytes;
}

std::byte* Window::slot(int member, uint64_t round) const {
  // The header is the last 8 bytes of a cache line, so that the payload begins on the next.
  const uint64_t index = sizes_.num_members == 2 ? (uint64_t(member) + round) % 2 : uint64_t(member) * 2 + round % 2;
  return memory_ + slots_at(sizes_) + index * slot_stride(sizes_) + (kCacheLine - kSlotHeaderBytes);
}

void Window::ring_bell(int member) const {
  Bell& peer = bell(member);
  if (peer.asleep.load(std::memory_order_seq_cst) == 0) return;
  peer.word.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(peer.word);
}

void Window::ring_all_bells(int except) const {
  for (int member = 0; member < sizes_.num_members; ++member) {
    if (member != except) ring_bell(member);
  }
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, int at_most_ms) {
  const timespec relative{.tv_sec = at_most_ms / 1000, .tv_nsec = (at_most_ms % 1000) * 1'000'000L};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &relative, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace echelon
