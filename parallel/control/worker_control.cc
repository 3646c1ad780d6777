// A worker's end: connects to rank 0, again until it listens, and proves the job's secret while rank 0 proves it too.
#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "kernels/base/check.h"
#include "parallel/control/socket_control.h"

namespace echelon {

namespace asio = boost::asio;

namespace {

constexpr int kRetryMs = 50;
constexpr int kDyingMs = 50;  // a process that dies closes its connections before or after its listener
constexpr int kFindOutMs = 1000;

}  // namespace

WorkerControl::WorkerControl(ControlIdentity identity, ControlTimes times, std::string front_address)
    : SocketControl(identity, times), front_address_(std::move(front_address)) {
  ECHELON_CHECK(identity.rank > 0);
}

WorkerControl::~WorkerControl() { close(); }

std::string WorkerControl::describe_missing() const {
  return fmt::format("rank {} cannot reach rank 0 at {}: {}", identity_.rank, front_address_,
                     last_error_.empty() ? "no answer" : last_error_);
}

asio::awaitable<void> WorkerControl::open() {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(times_.connect_within_ms);
  while (!is_closing() && std::chrono::steady_clock::now() < until) {
    std::string fatal, passing;
    try {
      co_await connect_once();
      co_return;
    } catch (const boost::system::system_error& error) {
      // Not listening yet, or turned away: because rank 0 is crowded (passes), or for good (the deadline tells).
      passing =
          error.code() == asio::error::eof ? "it ended the handshake: its own log says why" : error.code().message();
    } catch (const Error& error) {
      fatal = error.what();
    }
    if (!fatal.empty()) {
      refuse_start(fmt::format("rank {} at {}: {}", identity_.rank, front_address_, fatal));
      co_return;
    }
    {
      const std::lock_guard lock(mutex_);
      last_error_ = passing;
    }
    asio::steady_timer timer(io_, std::chrono::milliseconds(kRetryMs));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// A connection that ends does not tell whether rank 0 has died or has given up this rank: its address does.
void WorkerControl::report_loss(int, const std::string& reason) {
  asio::co_spawn(io_, find_out(reason), asio::detached);
}

asio::awaitable<void> WorkerControl::find_out(std::string reason) {
  asio::steady_timer pause(io_, std::chrono::milliseconds(kDyingMs));
  co_await pause.async_wait(asio::use_awaitable);
  asio::steady_timer deadline(io_, std::chrono::milliseconds(kFindOutMs));
  deadline.async_wait([this, reason](const boost::system::error_code& error) {
    if (!error) handlers_.on_dropped(reason + "; rank 0 cannot be reached");
  });
  bool is_gone = false;
  try {
    co_await connect_wire(io_, front_address_, identity_.secret);
  } catch (const boost::system::system_error& error) {
    is_gone = error.code() == asio::error::connection_refused;
  } catch (const Error&) {  // somebody is there
  }
  deadline.cancel();
  if (is_closing()) co_return;
  is_gone ? handlers_.on_lost(0, reason) : handlers_.on_dropped(reason);
}

asio::awaitable<void> WorkerControl::connect_once() {
  std::unique_ptr<Wire> wire = co_await connect_wire(io_, front_address_, identity_.secret);
  const auto connection = std::make_shared<Connection>(std::move(wire), identity_.job_id);
  asio::steady_timer deadline(io_, std::chrono::milliseconds(times_.handshake_within_ms));
  deadline.async_wait([connection](const boost::system::error_code& error) {
    if (!error && connection->rank < 0) connection->wire->close();
  });
  co_await authenticate(*connection);
  adopt(connection, 0);
}

asio::awaitable<void> WorkerControl::authenticate(Connection& connection) {
  HelloAsk ask{.rank = static_cast<uint32_t>(identity_.rank), .size = static_cast<uint32_t>(identity_.size)};
  fill_random(ask.nonce);
  co_await write_hello(connection, encode(ask));
  const ControlMessage first = co_await next_message(connection);
  const std::optional<HelloAnswer> answer = decode_answer(first.payload);
  if (!answer || !equal_proofs(answer->proof, prove(identity_.secret, "front", identity_.job_id, ask, answer->nonce))) {
    throw HandshakeError(Part::parallel, "who answers did not prove that it knows the job's secret");
  }
  co_await write_hello(connection,
                       encode_prove(prove(identity_.secret, "worker", identity_.job_id, ask, answer->nonce)));
  // Rank 0 has proved itself: its first plan may come in the same bytes as its acceptance.
  connection.decoder.set_max_payload_bytes(kMaxPayloadBytes);
  const ControlMessage last = co_await next_message(connection);
  if (!is_accept(last.payload)) throw HandshakeError(Part::parallel, "rank 0 did not accept this rank");
}

}  // namespace echelon
