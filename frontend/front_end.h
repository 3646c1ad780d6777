// The front end as launch/ uses it: the HTTP server, the endpoints and their counters in one object.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "frontend/access/api_keys.h"
#include "frontend/access/request_log.h"
#include "frontend/api.h"
#include "frontend/batch/service.h"
#include "frontend/http/server.h"
#include "frontend/journal/journal.h"

namespace echelon {

/// Life: construct, start (the engine may still be loading: answers 503 and health says why), drain, wait_idle, stop.
/// start and stop are called once, by one thread; the others by any thread. No exit, no signals: those are launch's.
class FrontEnd {
 public:
  /// `engine` must outlive the front end and may still be loading. Throws Error(Part::frontend) for bad options, files
  /// that they name included.
  FrontEnd(const ServerOptions& options, Engine& engine);
  ~FrontEnd() { stop(); }

  /// Binds and serves. Throws Error(Part::frontend) naming the address and the cause.
  void start();
  /// The first bound port (of use with port 0), 0 when there are Unix-domain sockets alone; after start.
  uint16_t port() const { return server_.port(); }
  /// Where it listens, with bound ports; after start.
  std::vector<ListenAddress> addresses() const { return server_.addresses(); }
  /// New requests get 503 with Retry-After and Connection: close; running ones finish. Returns at once.
  void drain();
  /// Reads again the files that the options name. What a file that is at fault said before still counts, and the log
  /// says so.
  void reload();
  /// True when every request has been answered in full; false when that took longer than `timeout`.
  bool wait_idle(std::chrono::milliseconds timeout) const { return server_.wait_idle(timeout); }
  /// Closes every connection, cancels what still runs in the engine, joins the threads.
  void stop();

  const HttpMetrics& http_metrics() const { return metrics_; }

 private:
  HttpMetrics metrics_;
  KeyRing keys_;
  std::unique_ptr<RequestLog> log_;        ///< null: none is kept
  std::unique_ptr<BatchService> batches_;  ///< null: there are none
  std::unique_ptr<Journal> journal_;       ///< null: streams are not kept
  Api api_;
  HttpServer server_;
};

}  // namespace echelon
