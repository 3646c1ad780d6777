// Framing and the progress loop over links. A header is {size u64, number u32, magic u32}, little-endian.
#include "parallel/stream_communicator.h"

#include <fmt/format.h>

#include <cstring>

#include "kernels/base/check.h"

namespace echelon {
namespace {

constexpr uint32_t kStreamMagic = 0x4d524845;  // "EHRM"

struct StreamHeader {
  uint64_t num_bytes;
  uint32_t number;
  uint32_t magic;
};
static_assert(sizeof(StreamHeader) == kStreamHeaderBytes);

}  // namespace

void copy_own_part(std::span<const std::byte> from, std::span<std::byte> to) {
  ECHELON_CHECK(from.size() == to.size(), "own part has {} bytes, its place {}", from.size(), to.size());
  if (!from.empty() && from.data() != to.data()) std::memmove(to.data(), from.data(), from.size());
}

StreamCommunicator::StreamCommunicator(int rank, std::vector<std::unique_ptr<Link>> links,
                                       std::unique_ptr<Sleeper> sleeper, WaitTimes times)
    : patience_(times, *sleeper),
      rank_(rank),
      sleeper_(std::move(sleeper)),
      links_(std::move(links)),
      num_sent_(links_.size()),
      num_received_(links_.size()) {
  ECHELON_CHECK(rank >= 0 && rank < size());
  for (int peer = 0; peer < size(); ++peer) ECHELON_CHECK((links_[peer] == nullptr) == (peer == rank_));
}

StreamCommunicator::Outgoing StreamCommunicator::outgoing(int peer, std::span<const std::byte> body) {
  Outgoing message{.peer = peer, .body = body};
  const StreamHeader header{.num_bytes = body.size(), .number = num_sent_[peer]++, .magic = kStreamMagic};
  std::memcpy(message.head.data(), &header, sizeof(header));
  return message;
}

bool StreamCommunicator::progress() {
  bool more = false;
  for (const auto& link : links_) more |= link != nullptr && link->progress();
  return more;
}

bool StreamCommunicator::push(Outgoing& message) {
  if (message.done()) return false;
  const size_t head_done = std::min(message.num_done, message.head.size());
  const size_t moved = links_[message.peer]->try_send(std::span<const std::byte>(message.head).subspan(head_done),
                                                      message.body.subspan(message.num_done - head_done));
  message.num_done += moved;
  return moved > 0;
}

bool StreamCommunicator::pull(Incoming& message) {
  if (message.done()) return false;
  Link& link = *links_[message.peer];
  size_t moved = 0;
  if (message.num_done < message.head.size()) {
    moved = link.try_receive(std::span(message.head).subspan(message.num_done));
    message.num_done += moved;
    if (message.num_done < message.head.size()) return moved > 0;
    StreamHeader header;
    std::memcpy(&header, message.head.data(), sizeof(header));
    const uint32_t expected = num_received_[message.peer]++;
    if (header.magic != kStreamMagic || header.number != expected || header.num_bytes != message.body.size()) {
      throw CommunicatorError(
          Part::parallel,
          fmt::format(
              "rank {} of the group: message {} of {} bytes came from rank {}, but message {} of {} bytes was due{}",
              rank_, header.number, header.num_bytes, message.peer, expected, message.body.size(),
              header.magic == kStreamMagic ? "" : " (and its header is damaged)"));
    }
  }
  const size_t body_done = message.num_done - message.head.size();
  if (body_done < message.body.size()) {
    const size_t num_body = link.try_receive(message.body.subspan(body_done));
    message.num_done += num_body;
    moved += num_body;
  }
  return moved > 0;
}

void StreamCommunicator::exchange(std::span<Outgoing> sends, std::span<Incoming> receives, const char* operation) {
  const auto attempt = [&] {
    bool all_done = true, moved = false;
    for (Outgoing& message : sends) {
      moved |= push(message);
      all_done &= message.done();
    }
    for (Incoming& message : receives) {
      moved |= pull(message);
      all_done &= message.done();
    }
    return all_done ? Step::done : moved ? Step::moved : Step::nothing;
  };
  const auto describe = [&] {
    std::string peers;
    for (const Outgoing& message : sends) {
      if (!message.done())
        peers += fmt::format("{} to {} ({} bytes left)", peers.empty() ? "" : ",", message.peer,
                             message.head.size() + message.body.size() - message.num_done);
    }
    for (const Incoming& message : receives) {
      if (!message.done())
        peers += fmt::format("{} from {} ({} bytes left)", peers.empty() ? "" : ",", message.peer,
                             message.head.size() + message.body.size() - message.num_done);
    }
    return fmt::format("rank {} of the group: {}{}", rank_, operation, peers);
  };
  patience_.wait(attempt, describe);
}

void StreamCommunicator::send(int peer, std::span<const std::byte> bytes) {
  ECHELON_CHECK(peer >= 0 && peer < size() && peer != rank_, "send to {} in a group of {}", peer, size());
  Outgoing message = outgoing(peer, bytes);
  exchange({&message, 1}, {}, "send");
}

void StreamCommunicator::receive(int peer, std::span<std::byte> out) {
  ECHELON_CHECK(peer >= 0 && peer < size() && peer != rank_, "receive from {} in a group of {}", peer, size());
  Incoming message{.peer = peer, .body = out};
  exchange({}, {&message, 1}, "receive");
}

void StreamCommunicator::check_shape(size_t num_mine, size_t num_out) const {
  ECHELON_CHECK(num_mine == links_.size() && num_out == links_.size(), "{} and {} parts in a group of {}", num_mine,
                num_out, size());
}

void StreamCommunicator::all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) {
  check_shape(links_.size(), out.size());
  copy_own_part(mine, out[rank_]);
  sends_.clear();
  receives_.clear();
  for (int step = 1; step < size(); ++step) {
    const int to = (rank_ + step) % size(), from = (rank_ + size() - step) % size();
    sends_.push_back(outgoing(to, mine));
    receives_.push_back({.peer = from, .body = out[from]});
  }
  exchange(sends_, receives_, "all_gather");
}

void StreamCommunicator::all_to_all(std::span<const std::span<const std::byte>> mine,
                                    std::span<const std::span<std::byte>> out) {
  check_shape(mine.size(), out.size());
  copy_own_part(mine[rank_], out[rank_]);
  sends_.clear();
  receives_.clear();
  for (int step = 1; step < size(); ++step) {
    const int to = (rank_ + step) % size(), from = (rank_ + size() - step) % size();
    sends_.push_back(outgoing(to, mine[to]));
    receives_.push_back({.peer = from, .body = out[from]});
  }
  exchange(sends_, receives_, "all_to_all");
}

void StreamCommunicator::abandon(const std::string& reason) { patience_.abandon(reason); }

}  // namespace echelon
