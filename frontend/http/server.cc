// The listeners, the io threads, and the order of shutting down: connections first, then the text threads (their
// results go to the io threads), then the io threads.
#include "frontend/http/server.h"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>
#include <utility>

#include "frontend/http/open_files.h"
#include "frontend/http/session.h"
#include "frontend/refusals.h"
#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace asio = boost::asio;

constexpr auto kAcceptPause = std::chrono::milliseconds(50);  ///< after a failed accept (no file descriptors left)
constexpr auto kCloseDeadline = std::chrono::seconds(10);     ///< sessions end within it once they are closed
constexpr auto kPollPeriod = std::chrono::milliseconds(2);

uint64_t random_salt() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) & 0xffff'ffff'0000'0000u;
}

ServerOptions checked(ServerOptions options) {
  if (options.threads < 1 || options.threads > 256 || options.text_threads < 1 || options.text_threads > 256)
    throw Error(Part::frontend, "the number of http threads must be between 1 and 256");
  const size_t room = room_for_connections(options.max_connections);
  if (room < options.max_connections) {
    log::warn("http: at most {} connections instead of {}: the limit of open files (ulimit -n) allows no more", room,
              options.max_connections);
    options.max_connections = room;
  }
  return options;
}

}  // namespace

HttpServer::HttpServer(ServerOptions options, RequestHandler& handler, HttpMetrics& metrics)
    : state_(checked(std::move(options)), handler, metrics, random_salt()),
      tls_(state_.options.tls_certificate, state_.options.tls_key),
      io_(state_.options.threads),
      accept_strand_(asio::make_strand(io_)),
      text_pool_(static_cast<size_t>(state_.options.text_threads)) {}

HttpServer::~HttpServer() { stop(); }

void HttpServer::start() {
  ECHELON_CHECK(!started_);
  for (const ListenAddress& address : listen_addresses(state_.options))
    listeners_.push_back(std::make_unique<Listener>(accept_strand_, address));
  started_ = true;
  for (const auto& listener : listeners_) {
    accepting_.fetch_add(1);
    asio::co_spawn(accept_strand_, accept_loop(*listener), [this](std::exception_ptr fault) {
      accepting_.fetch_sub(1);
      if (fault) std::rethrow_exception(fault);
    });
  }
  for (int i = 0; i < state_.options.threads; ++i) {
    threads_.emplace_back([this] {
      const auto work = asio::make_work_guard(io_);
      io_.run();
    });
  }
}

uint16_t HttpServer::port() const {
  for (const auto& listener : listeners_) {
    if (!listener->address().is_unix()) return listener->address().port;
  }
  return 0;
}

std::vector<ListenAddress> HttpServer::addresses() const {
  std::vector<ListenAddress> addresses;
  for (const auto& listener : listeners_) addresses.push_back(listener->address());
  return addresses;
}

asio::awaitable<void> HttpServer::accept_loop(Listener& listener) {
  constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
  asio::steady_timer pause(accept_strand_);
  boost::system::error_code last_error;
  for (;;) {  // ends when the acceptor is closed
    auto [error, socket] = co_await listener.acceptor().async_accept(asio::make_strand(io_), kAwait);
    if (!listener.acceptor().is_open() || error == asio::error::operation_aborted) co_return;
    if (error) {
      if (error != last_error) log::warn("http: cannot accept connections: {}; trying again", error.message());
      last_error = error;
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(kAwait);
      continue;
    }
    if (std::exchange(last_error, {})) log::warn("http: connections are accepted again");
    admit(listener, std::move(socket));
  }
}

void HttpServer::admit(const Listener& listener, StreamSocket socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);  // no option of a Unix-domain socket
  if (state_.options.socket_send_bytes > 0)
    socket.set_option(asio::socket_base::send_buffer_size(state_.options.socket_send_bytes), ignored);
  const auto tls = listener.address().is_unix() ? nullptr : tls_.current();
  state_.metrics.connections_accepted.fetch_add(1);
  Admission::Ticket ticket = state_.admission.admit(peer_network(socket));
  const Admission::Verdict verdict = ticket.verdict();
  if (verdict != Admission::Verdict::serve) state_.metrics.connections_refused.fetch_add(1);
  if (verdict == Admission::Verdict::drop) return;  // closes the socket
  const auto session = std::make_shared<Session>(std::move(socket), tls.get(), state_, std::move(ticket));
  const ServerOptions& options = state_.options;
  if (verdict == Admission::Verdict::serve) {
    session->start();
  } else if (verdict == Admission::Verdict::too_many) {
    session->start_refusing(unavailable(
        fmt::format("all {} connections are in use; try again", options.max_connections), "too_many_connections", 1));
  } else {
    RequestError error = http_refusal(429,
                                      fmt::format("{} connections from your address are open, and it may have no more",
                                                  options.connections_per_address),
                                      "too_many_connections");
    error.type = "requests";
    error.retry_after_s = 1;
    session->start_refusing(std::move(error));
  }
}

bool HttpServer::wait_idle(std::chrono::milliseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (state_.metrics.in_flight.load() > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPollPeriod);
  }
  return true;
}

void HttpServer::stop() {
  if (!started_ || stopped_) return;
  stopped_ = true;
  asio::post(accept_strand_, [this] {
    for (const auto& listener : listeners_) listener->close();
  });
  const auto deadline = std::chrono::steady_clock::now() + kCloseDeadline;
  for (;;) {  // bounded by kCloseDeadline
    std::vector<std::shared_ptr<Session>> open;
    {
      const std::lock_guard lock(state_.mutex);
      for (const auto& [session, weak] : state_.sessions) {
        if (auto held = weak.lock()) open.push_back(std::move(held));
      }
    }
    for (const auto& session : open) session->close();
    open.clear();
    if (accepting_.load() == 0 && state_.metrics.connections.load() == 0) break;
    if (std::chrono::steady_clock::now() >= deadline) {
      log::warn("http: {} connections did not end in time", state_.metrics.connections.load());
      break;
    }
    std::this_thread::sleep_for(kPollPeriod);
  }
  text_pool_.join();
  io_.stop();
  for (auto& thread : threads_) thread.join();
}

}  // namespace echelon
