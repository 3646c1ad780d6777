// What becomes of one request: kept while it runs, for limits and for the log of requests. Plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace echelon {

/// On the session's strand. Owners: the session, and what works on the request.
struct RequestRecord {
  // By the session.
  std::string id, client, method, path;                                              ///< client: its address, or "unix"
  std::chrono::system_clock::time_point time = std::chrono::system_clock::now();     ///< its header had been read
  std::chrono::steady_clock::time_point arrival = std::chrono::steady_clock::now();  ///< likewise
  int status = 0;                                                                    ///< 0: the client left before
  double total_ms = 0;                                                               ///< to the end of the answer
  std::optional<std::string> request_text, response_text;                            ///< with --request-log-text

  // By what answers; as they are here where no model was asked.
  std::string key;  ///< whose it was: ApiKey::id, or empty
  std::string model;
  bool stream = false;
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  int64_t charged_tokens = 0;          ///< of the limits of the key, so far
  double queue_ms = -1, ttft_ms = -1;  ///< to the first micro-batch and the first token; negative: there was none
  std::string finish_reason;           ///< of the choice that ended last
};

}  // namespace echelon
