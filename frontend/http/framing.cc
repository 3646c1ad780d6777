// The framing rules, applied to a header that Beast has already accepted.
// Every refusal names the field and what would be right.
#include "frontend/http/framing.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <boost/url/authority_view.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "frontend/iequals.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace http = boost::beast::http;

RequestError bad(std::string message) { return http_refusal(400, std::move(message), "bad_http_request"); }

size_t count_fields(const RequestHeader& header, http::field name) {
  const auto [first, last] = header.equal_range(name);
  return static_cast<size_t>(std::distance(first, last));
}

std::optional<RequestError> check_length(const RequestHeader& header) {
  const size_t num_encodings = count_fields(header, http::field::transfer_encoding);
  const size_t num_lengths = count_fields(header, http::field::content_length);
  if (num_encodings > 0) {
    if (header.version() < 11) return bad("Transfer-Encoding is not part of HTTP/1.0; send Content-Length");
    if (num_lengths > 0) return bad("Transfer-Encoding and Content-Length exclude each other; send one of them");
    if (num_encodings > 1 || !iequals(header[http::field::transfer_encoding], "chunked"))
      return bad("the only Transfer-Encoding accepted is: chunked");
  }
  if (num_lengths > 1) return bad("Content-Length is there more than once");
  if (num_lengths == 1) {
    const auto value = header[http::field::content_length];
    if (value.empty() || !std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; }))
      return bad("Content-Length must be a decimal number");
  }
  return std::nullopt;
}

bool is_host(std::string_view text) {
  const auto parsed = boost::urls::parse_authority(text);
  return parsed.has_value() && !parsed->has_userinfo();
}

std::optional<RequestError> check_host(const RequestHeader& header) {
  const size_t num_hosts = count_fields(header, http::field::host);
  if (num_hosts > 1) return bad("Host is there more than once");
  if (num_hosts == 0)
    return header.version() < 11 ? std::nullopt : std::optional(bad("HTTP/1.1 asks for a Host field"));
  if (!is_host(header[http::field::host])) return bad("Host must be a name or an address, with or without a port");
  return std::nullopt;
}

}  // namespace

RequestError malformed(std::string_view what) { return bad(fmt::format("malformed HTTP request: {}", what)); }

RequestError header_too_long(bool line_complete, const ServerOptions& options) {
  if (!line_complete) return http_refusal(414, "the request line is too long", "uri_too_long");
  return http_refusal(431, fmt::format("the request's header is longer than {} bytes", options.header_bytes),
                      "header_too_large");
}

boost::beast::error_code ChunkExtensions::add(std::string_view text) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\t'; };
  if (std::any_of(text.begin(), text.end(), is_control)) return http::error::bad_chunk_extension;
  if (text.size() > left_bytes_) return http::error::header_limit;
  left_bytes_ -= text.size();
  return {};
}

std::optional<RequestError> check_framing(const RequestHeader& header, const ServerOptions& options) {
  if (auto error = check_length(header)) return error;
  if (auto error = check_host(header)) return error;
  if (header.method() == http::verb::connect) return bad("this server is no proxy: CONNECT is not taken");
  if (header.target() == "*" && header.method() != http::verb::options) return bad("* is a target of OPTIONS alone");
  if (header.target().size() > options.target_bytes)
    return http_refusal(414, fmt::format("the request's target is longer than {} bytes", options.target_bytes),
                        "uri_too_long");
  const auto expect = header[http::field::expect];
  if (!expect.empty() && !iequals(expect, "100-continue"))
    return http_refusal(417, "the only Expect accepted is: 100-continue", "expectation_failed");
  return std::nullopt;
}

bool expects_continue(const RequestHeader& header) {
  return header.version() >= 11 && iequals(header[http::field::expect], "100-continue");
}

std::optional<RequestError> refusal_of(const boost::beast::error_code& error, const ServerOptions& options,
                                       size_t body_limit) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return header_too_long(true, options);
  if (error == http::error::body_limit)
    return http_refusal(413, fmt::format("the request's body is longer than {} bytes", body_limit), "body_too_large");
  if (error == http::error::bad_version) return bad("only HTTP/1.0 and HTTP/1.1 are spoken here");
  const bool left = error == http::error::end_of_stream || error == http::error::partial_message;
  if (left || error.category() != http::make_error_code(http::error::bad_method).category()) return std::nullopt;
  return malformed(error.message());
}

std::optional<std::string> path_of(std::string_view target) {
  if (target == "*") return "*";
  if (!target.empty() && target.front() == '/') {
    const auto parsed = boost::urls::parse_origin_form(target);
    if (!parsed) return std::nullopt;
    return std::string(parsed->encoded_path());
  }
  const auto parsed = boost::urls::parse_absolute_uri(target);
  if (!parsed ||
      (parsed->scheme_id() != boost::urls::scheme::http && parsed->scheme_id() != boost::urls::scheme::https))
    return std::nullopt;
  if (parsed->encoded_host().empty() || parsed->has_userinfo()) return std::nullopt;
  const std::string path(parsed->encoded_path());
  return path.empty() ? "/" : path;
}

std::string query_of(std::string_view target) {
  const size_t begin = target.find('?'), end = std::min(target.find('#'), target.size());
  return begin < end ? std::string(target.substr(begin + 1, end - begin - 1)) : std::string();
}

}  // namespace echelon
