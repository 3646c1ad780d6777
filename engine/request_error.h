// A request that cannot be served as it is: a value with an HTTP status and the fields of OpenAI's error body.
#pragma once

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>
#include <stdexcept>
#include <string>

namespace echelon {

struct RequestError {
  int http_status = 400;
  std::string message;                         ///< for people: what is wrong, and what would be right
  std::string type = "invalid_request_error";  ///< OpenAI's error.type
  std::string param;                           ///< the parameter at fault; empty becomes null
  std::string code;       ///< OpenAI's error.code, as "context_length_exceeded"; empty becomes null
  int retry_after_s = 0;  ///< > 0: sent as Retry-After (429, 503)
};

template <typename T>
using RequestResult = boost::system::result<T, RequestError>;

/// Called by RequestResult::value() on an error nobody looked at: a bug of ours.
[[noreturn]] inline void throw_exception_from_error(const RequestError& error, const boost::source_location&) {
  throw std::logic_error("unchecked request error: " + error.message);
}

}  // namespace echelon
