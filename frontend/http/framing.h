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
/// Content-Length repeated or not only digits; Host missing (HTTP/1.1) or repeated; a target that is too long; an
/// Expect other than 100-continue. After such an answer the connection has to be closed.
std::optional<RequestError> check_framing(const RequestHeader& header, const ServerOptions& options);

/// What to answer when Beast's parser gives up; nothing when the client has left or stopped sending. `line_complete`:
/// the request line had been read. `body_limit`: what the parser was told.
std::optional<RequestError> refusal_of(const boost::beast::error_code& error, bool line_complete,
                                       const ServerOptions& options, size_t body_limit);

bool expects_continue(const RequestHeader& header);

/// The path of an origin-form or absolute-form target, without the query; "*" for OPTIONS *; nothing when malformed.
std::optional<std::string> path_of(std::string_view target);
/// The query of a target that path_of() takes.
std::string query_of(std::string_view target);

}  // namespace echelon
