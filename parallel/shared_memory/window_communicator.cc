// Rings: single producer, single consumer, counts checked against the capacity. Slots: a member that publishes round k
// has read round k - 1 of everyone, so that everyone is done with its own slot k - 2 = the one it overwrites: two slots
// are enough. Of two members each overwrites what it read in round k - 1 itself.
#include "parallel/shared_memory/window_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kernels/base/check.h"

namespace echelon {
namespace {

constexpr size_t kPieceBytes = size_t{64}
                               << 10;  // published at once, so that the peer reads while the next piece is written

void copy_into_ring(std::byte* ring, uint64_t capacity, uint64_t at, std::span<const std::byte> bytes) {
  const uint64_t offset = at & (capacity - 1);
  const size_t first = std::min<uint64_t>(bytes.size(), capacity - offset);
  if (first > 0) std::memcpy(ring + offset, bytes.data(), first);
  if (first < bytes.size()) std::memcpy(ring, bytes.data() + first, bytes.size() - first);
}

void copy_from_ring(const std::byte* ring, uint64_t capacity, uint64_t at, std::span<std::byte> out) {
  const uint64_t offset = at & (capacity - 1);
  const size_t first = std::min<uint64_t>(out.size(), capacity - offset);
  if (first > 0) std::memcpy(out.data(), ring + offset, first);
  if (first < out.size()) std::memcpy(out.data() + first, ring, out.size() - first);
}

/// Slot header: operation in the top byte, size below.
enum class SlotUse : uint64_t { gather = 1, scatter = 2 };
uint64_t slot_header(SlotUse use, uint64_t num_bytes) { return static_cast<uint64_t>(use) << 56 | num_bytes; }

void write_slot(std::byte* slot, uint64_t header, std::span<const std::byte> bytes) {
  std::memcpy(slot, &header, kSlotHeaderBytes);
  if (!bytes.empty()) std::memcpy(slot + kSlotHeaderBytes, bytes.data(), bytes.size());
}

void read_slot(const std::byte* slot, SlotUse use, std::span<std::byte> out, int rank, int peer) {
  uint64_t header;
  std::memcpy(&header, slot, kSlotHeaderBytes);
  if (header != slot_header(use, out.size())) {
    throw CommunicatorError(
        Part::parallel,
        fmt::format("rank {} of the group: {} due from rank {} has {} bytes, but it published {} (header {:#x})", rank,
                    use == SlotUse::gather ? "all_gather" : "all_to_all", peer, out.size(),
                    header & ((uint64_t{1} << 56) - 1), header));
  }
  if (!out.empty()) std::memcpy(out.data(), slot + kSlotHeaderBytes, out.size());
}

}  // namespace

WindowLink::WindowLink(const Window& window, int member, int peer)
    : window_(window),
      member_(member),
      peer_(peer),
      outgoing_(window.ring(member, peer)),
      incoming_(window.ring(peer, member)),
      outgoing_data_(window.ring_data(member, peer)),
      incoming_data_(window.ring_data(peer, member)) {}

void WindowLink::peer_gone(const char* operation) const {
  throw CommunicatorError(Part::parallel,
                          fmt::format("rank {} of the host's group: {} rank {}: rank {} has left the group", member_,
                                      operation, peer_, peer_));
}

void WindowLink::damaged(const char* what, uint64_t theirs, uint64_t ours) const {
  throw CommunicatorError(Part::parallel,
                          fmt::format("rank {} of the host's group: the ring shared with rank {} is damaged: {} {} "
                                      "against {}",
                                      member_, peer_, what, theirs, ours));
}

size_t WindowLink::try_send(std::span<const std::byte> head, std::span<const std::byte> body) {
  const uint64_t capacity = window_.sizes().ring_bytes;
  const bool closed = window_.bell(peer_).closed.load(std::memory_order_seq_cst) != 0;
  if (closed) peer_gone("send to");
  const uint64_t tail = outgoing_.tail.load(std::memory_order_seq_cst);
  const uint64_t used = head_ - tail;
  if (used > capacity) damaged("tail", tail, head_);
  const size_t space = std::min<uint64_t>(capacity - used, kPieceBytes);
  const size_t from_head = std::min(head.size(), space), from_body = std::min(body.size(), space - from_head);
  if (from_head + from_body == 0) return 0;
  copy_into_ring(outgoing_data_, capacity, head_, head.first(from_head));
  copy_into_ring(outgoing_data_, capacity, head_ + from_head, body.first(from_body));
  head_ += from_head + from_body;
  outgoing_.head.store(head_, std::memory_order_seq_cst);
  window_.ring_bell(peer_);
  return from_head + from_body;
}

size_t WindowLink::try_receive(std::span<std::byte> out) {
  if (out.empty()) return 0;
  const uint64_t capacity = window_.sizes().ring_bytes;
  const bool closed =
      window_.bell(peer_).closed.load(std::memory_order_seq_cst) != 0;  // before head: what was sent counts
  const uint64_t head = incoming_.head.load(std::memory_order_seq_cst);
  const uint64_t available = head - tail_;
  if (available > capacity) damaged("head", head, tail_);
  if (available == 0 && closed) peer_gone("receive from");
  const size_t num = std::min<uint64_t>({available, out.size(), kPieceBytes});
  if (num == 0) return 0;
  copy_from_ring(incoming_data_, capacity, tail_, out.first(num));
  tail_ += num;
  incoming_.tail.store(tail_, std::memory_order_seq_cst);
  window_.ring_bell(peer_);
  return num;
}

void BellSleeper::arm() {
  seen_ = bell_.word.load(std::memory_order_seq_cst);
  bell_.asleep.store(1, std::memory_order_seq_cst);
}

void BellSleeper::sleep(int at_most_ms) { futex_wait(bell_.word, seen_, at_most_ms); }

void BellSleeper::disarm() { bell_.asleep.store(0, std::memory_order_seq_cst); }

void BellSleeper::wake() {
  bell_.word.fetch_add(1, std::memory_order_seq_cst);
  futex_wake(bell_.word);
}

std::vector<std::unique_ptr<Link>> WindowCommunicator::make_links(const Window& window, int rank) {
  std::vector<std::unique_ptr<Link>> links(window.sizes().num_members);
  for (int peer = 0; peer < window.sizes().num_members; ++peer) {
    if (peer != rank) links[peer] = std::make_unique<WindowLink>(window, rank, peer);
  }
  return links;
}

WindowCommunicator::WindowCommunicator(std::shared_ptr<SharedMemory> memory, WindowSizes sizes, int rank,
                                       WaitTimes times)
    : WindowCommunicator(std::make_unique<Mapping>(Mapping{memory, Window(memory->data(), sizes)}), rank, times) {
  ECHELON_CHECK(mapping_->memory->num_bytes() >= sizes.total_bytes());
}

WindowCommunicator::WindowCommunicator(std::unique_ptr<Mapping> mapping, int rank, WaitTimes times)
    : StreamCommunicator(rank, make_links(mapping->window, rank),
                         std::make_unique<BellSleeper>(mapping->window.bell(rank)),
                         WaitTimes{.timeout_ms = times.timeout_ms,
                                   .spin_us = resolved_spin_us(times, mapping->window.sizes().num_members)}),
      mapping_(std::move(mapping)),
      window_(mapping_->window) {}

WindowCommunicator::~WindowCommunicator() { close(); }

void WindowCommunicator::close() {
  window_.bell(rank()).closed.store(1, std::memory_order_seq_cst);
  window_.ring_all_bells(rank());
}

void WindowCommunicator::abandon(const std::string& reason) {
  StreamCommunicator::abandon(reason);
  close();
}

void WindowCommunicator::publish_round() {
  window_.slot_count(rank()).published.store(round_ + 1, std::memory_order_seq_cst);
  window_.ring_all_bells(rank());
}

void WindowCommunicator::wait_for_round(int peer, const char* operation) {
  const auto attempt = [&] {
    const bool closed = window_.bell(peer).closed.load(std::memory_order_seq_cst) != 0;  // before the count
    const uint64_t ahead = window_.slot_count(peer).published.load(std::memory_order_seq_cst) - round_;
    if (ahead == 1 || ahead == 2) return Step::done;
    if (ahead != 0) {
      throw CommunicatorError(
          Part::parallel,
          fmt::format("rank {} of the host's group: {}: rank {} has published round {}, this rank is in {}", rank(),
                      operation, peer, ahead + round_, round_));
    }
    if (closed) {
      throw CommunicatorError(Part::parallel, fmt::format("rank {} of the host's group: {}: rank {} has left the group",
                                                          rank(), operation, peer));
    }
    return Step::nothing;
  };
  patience_.wait(attempt,
                 [&] { return fmt::format("rank {} of the host's group: {} with rank {}", rank(), operation, peer); });
}

/// Bytes [offset, offset + slot_bytes) of what is longer.
template <class Bytes>
Bytes WindowCommunicator::piece(Bytes whole, uint64_t offset) const {
  const uint64_t begin = std::min<uint64_t>(offset, whole.size());
  return whole.subspan(begin, std::min<uint64_t>(window_.sizes().slot_bytes, whole.size() - begin));
}

void WindowCommunicator::gather_round(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out,
                                      uint64_t offset) {
  const std::span<const std::byte> my_part = piece(mine, offset);
  write_slot(window_.slot(rank(), round_), slot_header(SlotUse::gather, my_part.size()), my_part);
  publish_round();
  for (int step = 1; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    wait_for_round(peer, "all_gather");
    read_slot(window_.slot(peer, round_), SlotUse::gather, piece(out[peer], offset), rank(), peer);
  }
  ++round_;
}

void WindowCommunicator::all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) {
  check_shape(out.size(), out.size());
  copy_own_part(mine, out[rank()]);
  if (size() == 1) return;
  uint64_t largest = 0;
  for (const std::span<std::byte>& part : out) largest = std::max<uint64_t>(largest, part.size());
  uint64_t offset = 0;
  do {
    gather_round(out[rank()], out, offset);
    offset += window_.sizes().slot_bytes;
  } while (offset < largest);
}

/// Both sides know both sizes, and so the number of rounds.
void WindowCommunicator::swap(int peer, std::span<const std::byte> mine, std::span<std::byte> theirs) {
  const uint64_t largest = std::max(mine.size(), theirs.size());
  uint64_t offset = 0;
  do {
    const std::span<const std::byte> my_piece = piece(mine, offset);
    write_slot(window_.slot(rank(), round_), slot_header(SlotUse::scatter, my_piece.size()), my_piece);
    publish_round();
    wait_for_round(peer, "all_to_all");
    read_slot(window_.slot(peer, round_), SlotUse::scatter, piece(theirs, offset), rank(), peer);
    ++round_;
    offset += window_.sizes().slot_bytes;
  } while (offset < largest);
}

void WindowCommunicator::all_to_all(std::span<const std::span<const std::byte>> mine,
                                    std::span<const std::span<std::byte>> out) {
  check_shape(mine.size(), out.size());
  copy_own_part(mine[rank()], out[rank()]);
  if (size() == 1) return;
  if (size() == 2) return swap(1 - rank(), mine[1 - rank()], out[1 - rank()]);
  // A pair decides by the size of its own message, which both know: into the slot, or through the ring.
  const uint64_t stride = window_.sizes().slot_bytes / size() / kSlotHeaderBytes * kSlotHeaderBytes;
  const auto fits = [&](size_t num_bytes) { return num_bytes + kSlotHeaderBytes <= stride; };
  std::byte* slot = window_.slot(rank(), round_) + kSlotHeaderBytes;
  for (int peer = 0; peer < size(); ++peer) {
    if (peer == rank() || !fits(mine[peer].size())) continue;
    write_slot(slot + peer * stride, slot_header(SlotUse::scatter, mine[peer].size()), mine[peer]);
  }
  publish_round();
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int step = 1; step < size(); ++step) {
    const int to = (rank() + step) % size(), from = (rank() + size() - step) % size();
    if (!fits(mine[to].size())) sends.push_back(outgoing(to, mine[to]));
    if (!fits(out[from].size())) receives.push_back({.peer = from, .body = out[from]});
  }
  if (!sends.empty() || !receives.empty()) exchange(sends, receives, "all_to_all");
  for (int step = 1; step < size(); ++step) {
    const int peer = (rank() + step) % size();
    wait_for_round(peer, "all_to_all");
    if (!fits(out[peer].size())) continue;
    read_slot(window_.slot(peer, round_) + kSlotHeaderBytes + rank() * stride, SlotUse::scatter, out[peer], rank(),
              peer);
  }
  ++round_;
}

}  // namespace echelon
