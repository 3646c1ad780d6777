// The HTTP server: one listener, many sessions, several io threads. Serves one RequestHandler.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "frontend/http/server_state.h"

namespace echelon {

/// Life: construct, start, (drain, wait_idle), stop. start and stop are called once, by one thread; the others by any.
class HttpServer {
 public:
  /// `handler` and `metrics` must outlive the server.
  HttpServer(ServerOptions options, RequestHandler& handler, HttpMetrics& metrics);
  ~HttpServer();  ///< stops

  /// Binds, listens and starts the io threads. Throws Error(Part::frontend) naming the address and the cause.
  void start();
  /// The port that is bound; only after start.
  uint16_t port() const { return port_; }
  /// From now on every answer closes its connection. What to refuse is the handler's decision.
  void drain() { state_.draining.store(true); }
  /// True when no request runs any more; false when that took longer than `timeout`.
  bool wait_idle(std::chrono::milliseconds timeout) const;
  /// Closes the listener and every connection, cancels what runs, joins the threads. `text_pool` work is waited for.
  void stop();

  boost::asio::thread_pool& text_pool() { return text_pool_; }

 private:
  boost::asio::awaitable<void> accept_loop();
  void admit(boost::asio::ip::tcp::socket socket);

  ServerState state_;
  boost::asio::io_context io_;
  boost::asio::strand<boost::asio::io_context::executor_type> accept_strand_;
  boost::asio::thread_pool text_pool_;
  std::optional<boost::asio::ip::tcp::acceptor> acceptor_;
  std::vector<std::thread> threads_;
  uint16_t port_ = 0;
  std::atomic<bool> accepting_{false};
  bool started_ = false, stopped_ = false;
};

}  // namespace echelon
