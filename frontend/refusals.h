// Short ways to write the RequestErrors of the front end: every refusal has a status, a message for people, and
// OpenAI's type, param and code.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "engine/request_error.h"
#include "engine/text/utf8.h"

namespace echelon {

/// A client's own words in our answer: characters, whatever they were, and so few that an answer is never larger than
/// what was sent.
inline std::string shortened(std::string_view words) {
  constexpr size_t kMost = 64;
  if (words.size() <= kMost) return replace_invalid_utf8(words);
  size_t end = kMost;
  while (end > 0 && (words[end] & 0xc0) == 0x80) --end;  // not in the middle of a character
  return replace_invalid_utf8(words.substr(0, end)) + "...";
}

/// The request's parameter `param` (empty: the request as a whole) is at fault: 400.
inline RequestError bad_request(std::string_view param, std::string message, std::string_view code = "") {
  RequestError error;
  error.message = std::move(message);
  error.param = param;
  error.code = code;
  return error;
}

/// Refused because of how HTTP was spoken: 4xx, no parameter.
inline RequestError http_refusal(int status, std::string message, std::string_view code) {
  RequestError error;
  error.http_status = status;
  error.message = std::move(message);
  error.code = code;
  return error;
}

/// Not now: 503, with Retry-After.
inline RequestError unavailable(std::string message, std::string_view code, int retry_after_s) {
  RequestError error;
  error.http_status = 503;
  error.message = std::move(message);
  error.type = "server_error";
  error.code = code;
  error.retry_after_s = retry_after_s;
  return error;
}

/// Our own fault: 500. The message says nothing about our insides.
inline RequestError internal_error(std::string_view id) {
  RequestError error;
  error.http_status = 500;
  error.message = "internal error; the server's log has it under id " + std::string(id);
  error.type = "server_error";
  error.code = "internal_error";
  return error;
}

}  // namespace echelon
