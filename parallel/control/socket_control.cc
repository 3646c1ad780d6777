// Connections after their handshake: reading, writing, heartbeats, loss and goodbye. Everything but send(), start() and
// close() runs on the channel's own thread.
#include "parallel/control/socket_control.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "kernels/base/check.h"
#include "kernels/base/log.h"

namespace echelon {

namespace asio = boost::asio;
using asio::use_awaitable;
using std::chrono::milliseconds;

namespace {

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr int kGoodbyeMs = 1'000;  // for what is queued, and for the other side to close
constexpr int kGoodbyeStepMs = 5;

asio::awaitable<void> pause_for(int ms) {
  asio::steady_timer timer(co_await asio::this_coro::executor, milliseconds(ms));
  co_await timer.async_wait(use_awaitable);
}

}  // namespace

std::string describe_exception(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& fault) {
    return fault.code().message();
  } catch (const std::exception& fault) {
    return fault.what();
  }
}

SocketControl::SocketControl(ControlIdentity identity, ControlTimes times)
    : identity_(identity),
      times_(times),
      was_connected_(identity.size),
      peers_(identity.size),
      num_queued_bytes_(identity.size) {
  ECHELON_CHECK(identity.size >= 1 && identity.rank >= 0 && identity.rank < identity.size);
  ECHELON_CHECK(times.heartbeat_ms > 0 && times.dead_after_ms >= times.heartbeat_ms);
}

SocketControl::~SocketControl() { ECHELON_CHECK(!thread_.joinable(), "a subclass did not close the channel"); }

bool SocketControl::all_opened() const {
  if (identity_.rank != 0) return was_connected_[0];
  return std::all_of(was_connected_.begin() + 1, was_connected_.end(), [](bool connected) { return connected; });
}

void SocketControl::start(Handlers handlers) {
  ECHELON_CHECK(!started_.exchange(true), "start() was called twice");
  ECHELON_CHECK(handlers.on_message && handlers.on_lost && (identity_.rank == 0 || handlers.on_dropped));
  handlers_ = std::move(handlers);
  asio::co_spawn(io_, open(), asio::detached);
  asio::co_spawn(io_, heartbeats(), asio::detached);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "control");
    const auto work = asio::make_work_guard(io_);
    io_.run();
  });
  std::unique_lock lock(mutex_);
  opened_.wait_for(lock, milliseconds(times_.connect_within_ms), [&] { return all_opened() || !refused_.empty(); });
  if (!refused_.empty()) throw Error(Part::parallel, "control channel: " + refused_);
  if (!all_opened()) {
    throw Error(Part::parallel,
                fmt::format("control channel: {} after {} ms", describe_missing(), times_.connect_within_ms));
  }
}

void SocketControl::refuse_start(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (refused_.empty()) refused_ = reason;
  opened_.notify_all();
}

void SocketControl::send(int rank, ControlMessage message) {
  ECHELON_CHECK(started_ && rank >= 0 && rank < identity_.size, "send to rank {} of {}", rank, identity_.size);
  ECHELON_CHECK(identity_.rank == 0 || rank == 0 || rank == identity_.rank, "a worker sends to rank 0 only, not to {}",
                rank);
  if (close_called_) return;
  if (rank == identity_.rank) {
    handlers_.on_message(rank, std::move(message));
    return;
  }
  std::vector<std::byte> frame = encode_frame(message, identity_.job_id);
  const auto num_bytes = static_cast<int64_t>(frame.size());
  const bool too_much = num_queued_bytes_[rank].fetch_add(num_bytes) + num_bytes > kMaxQueuedBytes;
  asio::post(io_, [this, rank, too_much, queued = std::move(frame)]() mutable {
    const ConnectionPtr& peer = peers_[rank];
    if (peer == nullptr || peer->lost || peer->departed || closing_) {
      num_queued_bytes_[rank] -= static_cast<int64_t>(queued.size());
      return;
    }
    if (too_much)
      return lose(peer, fmt::format("it does not read: more than {} MiB are waiting for it", kMaxQueuedBytes >> 20));
    enqueue(peer, std::move(queued));
  });
}

void SocketControl::drop(int rank, const std::string& reason) {
  ECHELON_CHECK(started_ && identity_.rank == 0 && rank > 0 && rank < identity_.size, "rank {} drops rank {} of {}",
                identity_.rank, rank, identity_.size);
  asio::post(io_, [this, rank, reason] {
    if (const ConnectionPtr peer = peers_[rank]; peer != nullptr) lose(peer, reason);
  });
}

void SocketControl::enqueue(ConnectionPtr connection, std::vector<std::byte> frame) {
  connection->outgoing.insert(connection->outgoing.end(), frame.begin(), frame.end());
  if (connection->writing) return;
  connection->writing = true;
  asio::co_spawn(io_, write_loop(std::move(connection)), asio::detached);
}

asio::awaitable<void> SocketControl::write_loop(ConnectionPtr connection) {
  std::vector<std::byte> batch;
  try {
    while (!connection->outgoing.empty() && !connection->lost) {
      batch.clear();
      batch.swap(connection->outgoing);
      connection->sent_since_tick = true;
      co_await connection->wire->write(asio::buffer(batch));
      num_queued_bytes_[connection->rank] -= static_cast<int64_t>(batch.size());
    }
  } catch (...) {
    // The reading side reports the loss, after it has read what the peer said last.
    log::debug("control: writing to rank {}: {}", connection->rank, describe_exception(std::current_exception()));
  }
  connection->writing = false;
}

asio::awaitable<ControlMessage> SocketControl::next_message(Connection& connection) {
  std::array<std::byte, 512> buffer;
  while (connection.received.empty()) {
    const size_t num = co_await connection.wire->read_some(asio::buffer(buffer));
    const bool fine = connection.decoder.feed(std::span(buffer).first(num), connection.received);
    if (!fine) throw HandshakeError(Part::parallel, connection.decoder.error());
  }
  ControlMessage message = std::move(connection.received.front());
  connection.received.erase(connection.received.begin());
  if (message.kind != MessageKind::hello)
    throw HandshakeError(Part::parallel, "another message came before the handshake was over");
  co_return message;
}

asio::awaitable<void> SocketControl::write_hello(Connection& connection, std::vector<std::byte> payload) {
  const std::vector<std::byte> frame =
      encode_frame({.kind = MessageKind::hello, .payload = std::move(payload)}, identity_.job_id);
  co_await connection.wire->write(asio::buffer(frame));
}

void SocketControl::adopt(ConnectionPtr connection, int rank) {
  connection->rank = rank;
  connection->decoder.set_max_payload_bytes(kMaxPayloadBytes);
  peers_[rank] = connection;
  {
    const std::lock_guard lock(mutex_);
    was_connected_[rank] = true;
    opened_.notify_all();
  }
  asio::co_spawn(io_, read_loop(std::move(connection)), asio::detached);
}

asio::awaitable<void> SocketControl::read_loop(ConnectionPtr connection) {
  std::vector<std::byte> buffer(kReadBytes);
  std::string reason;
  try {
    for (;;) {
      for (ControlMessage& message : connection->received) handle(*connection, std::move(message));
      connection->received.clear();
      const size_t num = co_await connection->wire->read_some(asio::buffer(buffer));
      connection->silence_ms = 0;
      const bool fine = connection->decoder.feed(std::span(buffer).first(num), connection->received);
      if (!fine) throw Error(Part::parallel, connection->decoder.error());
    }
  } catch (const boost::system::system_error& error) {
    const bool eof = error.code() == asio::error::eof;
    reason = eof ? "its connection ended (the process died or was killed)" : error.code().message();
  } catch (const Error& error) {
    reason = error.what();
  }
  connection->ended = true;
  lose(connection, reason);
  connection->wire->close();
}

void SocketControl::handle(Connection& connection, ControlMessage message) {
  if (connection.lost || connection.departed || closing_) return;
  switch (message.kind) {
    case MessageKind::heartbeat:
      return;
    case MessageKind::bye:
      connection.departed = true;
      return;
    case MessageKind::hello:
      throw Error(Part::parallel, "a second handshake on one connection");
    default:
      handlers_.on_message(connection.rank, std::move(message));
  }
}

void SocketControl::lose(const ConnectionPtr& connection, const std::string& reason) {
  if (connection->lost || connection->departed || closing_) return;
  connection->lost = true;
  connection->wire->close();
  report_loss(connection->rank, reason);
}

void SocketControl::tick(const ConnectionPtr& connection) {
  if (connection == nullptr || connection->lost || connection->departed) return;
  connection->silence_ms += times_.heartbeat_ms;
  if (connection->silence_ms >= times_.dead_after_ms) {
    return lose(connection, fmt::format("nothing was heard of it for {} ms", connection->silence_ms));
  }
  const bool silent = connection->silence_ms >= times_.suspect_after_ms;
  if (silent && !connection->suspected)
    log::warn("control: rank {} is silent for {} ms", connection->rank, connection->silence_ms);
  connection->suspected = silent;
  if (!std::exchange(connection->sent_since_tick, false)) {
    std::vector<std::byte> frame = encode_frame({.kind = MessageKind::heartbeat}, identity_.job_id);
    num_queued_bytes_[connection->rank] += static_cast<int64_t>(frame.size());
    enqueue(connection, std::move(frame));
  }
}

asio::awaitable<void> SocketControl::heartbeats() {
  while (!closing_) {
    co_await pause_for(times_.heartbeat_ms);
    for (size_t rank = 0; rank < peers_.size() && !closing_; ++rank) tick(ConnectionPtr(peers_[rank]));
  }
}

asio::awaitable<void> SocketControl::say_goodbye() {
  closing_ = true;
  stop_opening();
  for (const ConnectionPtr& peer : peers_) {
    if (peer == nullptr || peer->lost || peer->ended) continue;
    std::vector<std::byte> frame = encode_frame({.kind = MessageKind::bye}, identity_.job_id);
    num_queued_bytes_[peer->rank] += static_cast<int64_t>(frame.size());
    enqueue(peer, std::move(frame));
  }
  // Written, then our direction ended, then the other side's end awaited: closing with unread bytes would reset the
  // connection and could destroy the goodbye on its way.
  const auto open_peers = [&](auto&& is_open) { return std::count_if(peers_.begin(), peers_.end(), is_open); };
  const auto is_writing = [](const ConnectionPtr& peer) { return peer != nullptr && !peer->lost && peer->writing; };
  const auto is_reading = [](const ConnectionPtr& peer) { return peer != nullptr && !peer->lost && !peer->ended; };
  for (int waited = 0; waited < kGoodbyeMs && open_peers(is_writing) > 0; waited += kGoodbyeStepMs)
    co_await pause_for(kGoodbyeStepMs);
  for (const ConnectionPtr& peer : peers_) {
    if (is_reading(peer)) peer->wire->end_writing();
  }
  for (int waited = 0; waited < kGoodbyeMs && open_peers(is_reading) > 0; waited += kGoodbyeStepMs)
    co_await pause_for(kGoodbyeStepMs);
  io_.stop();
}

void SocketControl::close() {
  if (!started_) return;
  if (!close_called_.exchange(true)) asio::co_spawn(io_, say_goodbye(), asio::detached);
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable() && thread_.get_id() != std::this_thread::get_id()) thread_.join();
}

}  // namespace echelon
