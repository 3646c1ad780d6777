// The HTTP server: listeners, many sessions, several io threads. Serves one RequestHandler.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "frontend/http/listener.h"
#include "frontend/http/server_state.h"
#include "frontend/http/tls.h"

namespace echelon {

/// Life: construct, start, (drain, wait_idle), stop. start and stop are called once, by one thread; the others by any.
class HttpServer {
 public:
  /// `handler` and `metrics` must outlive the server. Throws Error(Part::frontend) for bad options.
  HttpServer(ServerOptions options, RequestHandler& handler, HttpMetrics& metrics);
  ~HttpServer();  ///< stops

  /// Binds, listens and starts the io threads. Throws Error(Part::frontend) naming the address and the cause.
  void start();
  /// The first port that is bound, 0 when none is; only after start.
  uint16_t port() const;
  /// Where it listens, with bound ports; only after start.
  std::vector<ListenAddress> addresses() const;
  /// From now on every answer closes its connection. What to refuse is the handler's decision.
  void drain() { state_.draining.store(true); }
  /// Any thread: as TlsFiles::reload().
  void reload_tls() { tls_.reload(); }
  /// True when no request runs any more; false when that took longer than `timeout`.
  bool wait_idle(std::chrono::milliseconds timeout) const;
  /// Closes the listeners and every connection, cancels what runs, joins the threads. `text_pool` work is waited for.
  void stop();

  boost::asio::thread_pool& text_pool() { return text_pool_; }

 private:
  boost::asio::awaitable<void> accept_loop(Listener& listener);
  void admit(const Listener& listener, StreamSocket socket);

  ServerState state_;
  TlsFiles tls_;
  boost::asio::io_context io_;
  boost::asio::strand<boost::asio::io_context::executor_type> accept_strand_;
  boost::asio::thread_pool text_pool_;
  std::vector<std::unique_ptr<Listener>> listeners_;  ///< on accept_strand_ once they are started
  std::vector<std::thread> threads_;
  std::atomic<int> accepting_{0};  ///< accept_loops that run
  bool started_ = false, stopped_ = false;
};

}  // namespace echelon
