// Rank 0's end: accepts connections, lets those in that prove the job's secret, and turns strangers away without harm.
#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "kernels/base/check.h"
#include "kernels/base/log.h"
#include "parallel/control/socket_control.h"

namespace echelon {

namespace asio = boost::asio;

namespace {

constexpr int kMaxStrangers = 64;  // connections in their handshake beyond one per rank
constexpr int kPauseAfterFaultMs = 50;

}  // namespace

FrontControl::FrontControl(ControlIdentity identity, ControlTimes times, const ControlEndpoint& endpoint)
    : SocketControl(identity, times),
      listener_(endpoint.ip_address.empty() ? listen_on_host(io_)
                                            : listen_on_network(io_, endpoint.ip_address, identity.secret)),
      address_(listener_->address()),
      is_taken_(identity.size) {
  ECHELON_CHECK(identity.rank == 0);
}

FrontControl::~FrontControl() { close(); }

void FrontControl::stop_opening() { listener_->close(); }

std::string FrontControl::describe_missing() const {
  std::string missing;
  int num_missing = 0;
  for (int rank = 1; rank < identity_.size; ++rank) {
    if (was_connected_[rank]) continue;
    if (num_missing++ < 16) missing += fmt::format("{}{}", missing.empty() ? "" : ", ", rank);
  }
  return fmt::format("{} of {} ranks have not connected: {}{}", num_missing, identity_.size, missing,
                     num_missing > 16 ? ", ..." : "");
}

asio::awaitable<void> FrontControl::open() {
  while (!is_closing()) {
    std::unique_ptr<Wire> wire;
    std::string fault;
    try {
      wire = co_await listener_->accept();
    } catch (const boost::system::system_error& error) {
      fault = error.code().message();
    }
    if (is_closing()) co_return;
    if (wire == nullptr) {
      // Out of descriptors, or a client that went before it was accepted: neither ends the job, but must not spin.
      log::warn("control: accepting a connection: {}", fault);
      asio::steady_timer timer(io_, std::chrono::milliseconds(kPauseAfterFaultMs));
      co_await timer.async_wait(asio::use_awaitable);
    } else if (num_in_handshake_ >= identity_.size + kMaxStrangers) {
      log::warn("control: a connection was turned away: {} others are in their handshake", num_in_handshake_);
    } else {
      ++num_in_handshake_;
      asio::co_spawn(io_, receive_worker(std::make_shared<Connection>(std::move(wire), identity_.job_id)),
                     asio::detached);
    }
  }
}

asio::awaitable<void> FrontControl::receive_worker(ConnectionPtr connection) {
  asio::steady_timer deadline(io_, std::chrono::milliseconds(times_.handshake_within_ms));
  deadline.async_wait([connection](const boost::system::error_code& error) {
    if (!error && connection->rank < 0) connection->wire->close();
  });
  try {
    co_await authenticate(connection);
  } catch (...) {
    if (!is_closing()) log::warn("control: a connection was refused: {}", describe_exception(std::current_exception()));
    connection->wire->close();
  }
  --num_in_handshake_;
}

asio::awaitable<void> FrontControl::authenticate(ConnectionPtr connection) {
  co_await listener_->secure(*connection->wire);
  const ControlMessage first = co_await next_message(*connection);
  const std::optional<HelloAsk> ask = decode_ask(first.payload);
  if (!ask) throw HandshakeError(Part::parallel, "the first message is not a worker's question");
  if (ask->rank < 1 || ask->rank >= static_cast<uint32_t>(identity_.size) ||
      ask->size != static_cast<uint32_t>(identity_.size)) {
    throw HandshakeError(Part::parallel, fmt::format("it says it is rank {} of {}; this job has {} ranks", ask->rank,
                                                     ask->size, identity_.size));
  }
  HelloAnswer answer;
  fill_random(answer.nonce);
  answer.proof = prove(identity_.secret, "front", identity_.job_id, *ask, answer.nonce);
  co_await write_hello(*connection, encode(answer));
  const ControlMessage second = co_await next_message(*connection);
  const std::optional<Proof> proof = decode_prove(second.payload);
  if (!proof || !equal_proofs(*proof, prove(identity_.secret, "worker", identity_.job_id, *ask, answer.nonce))) {
    throw HandshakeError(Part::parallel,
                         fmt::format("as rank {} it did not prove that it knows the job's secret", ask->rank));
  }
  if (is_taken_[ask->rank])
    throw HandshakeError(Part::parallel, fmt::format("rank {} is connected already", ask->rank));
  if (is_closing()) throw HandshakeError(Part::parallel, "the channel is being closed");
  // Reserved before the last message is written, so that no second connection can take the place meanwhile.
  is_taken_[ask->rank] = true;
  try {
    co_await write_hello(*connection, encode_accept());
  } catch (...) {
    is_taken_[ask->rank] = false;
    throw;
  }
  adopt(connection, static_cast<int>(ask->rank));
}

}  // namespace echelon
