// What all sessions of one server share. Outlives every session.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "frontend/http/admission.h"
#include "frontend/http/message.h"
#include "frontend/http/options.h"
#include "frontend/metrics/http_metrics.h"

namespace echelon {

class Session;

struct ServerState {
  ServerState(ServerOptions server_options, RequestHandler& request_handler, HttpMetrics& http_metrics, uint64_t salt)
      : options(std::move(server_options)),
        handler(request_handler),
        metrics(http_metrics),
        id_salt(salt),
        admission(options.max_connections, options.connections_per_address) {}

  const ServerOptions options;
  RequestHandler& handler;
  HttpMetrics& metrics;
  std::atomic<bool> draining{false};    ///< every answer closes its connection
  std::atomic<uint64_t> body_bytes{0};  ///< held by all connections
  std::atomic<uint64_t> next_request{1};
  const uint64_t id_salt;  ///< makes ids of two servers differ
  Admission admission;

  std::mutex mutex;  ///< guards sessions
  std::unordered_map<const Session*, std::weak_ptr<Session>> sessions;
};

/// Body bytes of one request, counted against ServerOptions::total_body_bytes while it lives.
class BodyReservation {
 public:
  explicit BodyReservation(ServerState& state) : state_(state) {}
  ~BodyReservation() { state_.body_bytes.fetch_sub(bytes_); }
  BodyReservation(const BodyReservation&) = delete;
  BodyReservation& operator=(const BodyReservation&) = delete;

  /// False when all bodies together would be too large.
  bool grow_to(uint64_t bytes) {
    if (bytes <= bytes_) return true;
    const uint64_t added = bytes - bytes_;
    if (state_.body_bytes.fetch_add(added) + added > state_.options.total_body_bytes) {
      state_.body_bytes.fetch_sub(added);
      return false;
    }
    bytes_ = bytes;
    return true;
  }

 private:
  ServerState& state_;
  uint64_t bytes_ = 0;
};

}  // namespace echelon
