// A request as it was read, an answer as it will be written, and the interface between the HTTP server and what it
// serves. Nothing here knows about OpenAI or about models.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/request_error.h"
#include "frontend/access/request_record.h"

namespace echelon {

struct HttpRequest {
  std::shared_ptr<RequestRecord> record = std::make_shared<RequestRecord>();
  std::string id;               ///< ours, for logs and x-request-id
  std::string method;           ///< as sent, "GET"
  std::string path;             ///< percent-encoded, without the query
  std::string query;            ///< percent-encoded, without the question mark
  std::string argument;         ///< the part of the path that names something, decoded; by what answers
  std::string authorization;    ///< the field's value, or empty
  std::string api_key;          ///< likewise, of x-api-key
  std::string origin;           ///< likewise
  std::string content_type;     ///< likewise
  std::string last_event_id;    ///< likewise
  std::string tenant;           ///< whose key it was; empty when none is asked for
  bool asks_preflight = false;  ///< Access-Control-Request-Method is there
  std::string body;
};

/// A body that is made while it is sent. Lives on the session's strand only.
class BodySource {
 public:
  virtual ~BodySource() = default;
  /// The next piece; waits until there is one. Empty: the end. Cancelled when the client has left.
  virtual boost::asio::awaitable<std::string> next() = 0;
  /// The session gives a function that closes the connection at once. To be called, on the strand, when the client
  /// reads so slowly that a buffer is full.
  virtual void on_overflow(std::function<void()> cut_off) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields;  ///< in addition to the usual ones
  bool close = false;                                       ///< end the connection after this answer
  std::optional<RequestError> refused;                      ///< what the body says, when it is an error
  std::unique_ptr<BodySource> source;                       ///< when set: sent in pieces, in place of body
};

/// What answers requests. Called on any io thread, for several sessions at once.
class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  /// Runs on the session's strand; must not block it for long. Cancelled (terminal) when the client leaves. An
  /// exception is logged and answered with 500.
  virtual boost::asio::awaitable<HttpResponse> handle(HttpRequest request) = 0;
  /// The longest body that a request with this header may bring; beyond: 413.
  virtual size_t body_limit(const HttpRequest& header) const = 0;
  /// The answer to a request that is refused before it could be read in full, or that is not served. `path`: the
  /// request's, as far as it is known.
  virtual HttpResponse refusal(const RequestError& error, std::string_view path) const = 0;
  /// Once for every request that handle() was given, on the strand, when it has been answered or its client has left
  /// and nothing works on it any more.
  virtual void finished(RequestRecord& record) = 0;
};

}  // namespace echelon
