// Strict HTTP/1 framing where Beast 1.81 is lenient: what could make two parsers disagree about where a request ends is
// refused (RFC 9112 section 6, request smuggling).
#pragma once

#include <boost/beast/core/error.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/request_error.h"
#include "frontend/http/options.h"

namespace echelon {

using RequestHeader = boost::beast::http::request_header<boost::beast::http::fields>;

/// Refuses: Transfer-Encoding other than exactly `chunked`, together with Content-Length, repeated, or on HTTP/1.0;
/// Content-Length repeated or not only digits; Host missing (HTTP/1.1), repeated, or no host with or without a port;
/// CONNECT; a target that is too long, or * of another method than OPTIONS; an Expect other than 100-continue. After
/// such an answer the connection has to be closed.
std::optional<RequestError> check_framing(const RequestHeader& header, const ServerOptions& options);

/// What to answer when Beast's parser gives up; nothing when the client has left or stopped sending. `body_limit`: what
/// the parser was told.
std::optional<RequestError> refusal_of(const boost::beast::error_code& error, const ServerOptions& options,
                                       size_t body_limit);

/// 400: what is wrong with the bytes.
RequestError malformed(std::string_view what);
/// 414 or 431.
RequestError header_too_long(bool line_complete, const ServerOptions& options);

/// Extensions of chunks mean nothing here, but some parsers end them elsewhere: control characters are refused, and
/// more than `limit_bytes` of them in one body.
class ChunkExtensions {
 public:
  explicit ChunkExtensions(size_t limit_bytes) : left_bytes_(limit_bytes) {}
  /// Of one more chunk.
  boost::beast::error_code add(std::string_view text);

 private:
  size_t left_bytes_;
};

bool expects_continue(const RequestHeader& header);

/// The path of an origin-form or absolute-form target, without the query; "*" for *; nothing when malformed: a
/// fragment, an absolute form that is not of http, has no host or names a user.
std::optional<std::string> path_of(std::string_view target);
/// The query of a target that path_of() takes.
std::string query_of(std::string_view target);

}  // namespace echelon
