// How much one key may ask for in a minute, in requests and in tokens. Each limit is a bucket that holds a minute's
// worth, is full at first and fills evenly. Times are given by the caller.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "engine/request_error.h"

namespace echelon {

struct KeyLimits {
  int64_t requests_per_min = 0;  ///< 0: any
  int64_t tokens_per_min = 0;    ///< of prompts and answers; 0: any
  bool any() const { return requests_per_min > 0 || tokens_per_min > 0; }
};

class RateBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// From `now` on. What was left stays, as far as it fits; new buckets are full. 0: no limit.
  void set_rate(int64_t per_min, Time now);
  /// What is there may become negative: it is paid by waiting.
  void take(int64_t amount, Time now);
  int64_t limit() const { return per_min_; }
  /// Whole units that are there, 0 in debt.
  int64_t remaining(Time now) const;
  /// Until `amount` is there; 0 when it is, or when there is no limit.
  double seconds_until(int64_t amount, Time now) const;

 private:
  double level(Time now) const;

  int64_t per_min_ = 0;
  double level_ = 0;
  Time at_;
};

/// Any thread. Keeps two buckets for every name of a key that has ever come: as many as key files have named.
class RateLimits {
 public:
  using Time = RateBucket::Time;
  struct State {
    int64_t limit = 0, remaining = 0;
    double reset_s = 0;  ///< until the bucket is full
  };
  struct Report {
    std::optional<State> requests, tokens;  ///< nothing: no limit
  };

  /// Counts one request, or refuses it: 429, when the minute's requests are used up or tokens are owed. What a request
  /// will cost in tokens is not known before its answer ends, so one that finds a token left may run into debt; the key
  /// waits until that is paid.
  std::optional<RequestError> admit(const std::string& key, const KeyLimits& limits, Time now);
  /// Tokens that the key has used. No effect where there is no limit.
  void charge(const std::string& key, int64_t tokens, Time now);
  Report report(const std::string& key, Time now) const;

 private:
  struct Buckets {
    RateBucket requests, tokens;
  };
  mutable std::mutex mutex_;  ///< guards keys_
  std::map<std::string, Buckets> keys_;
};

/// As OpenAI's x-ratelimit-reset-*: "350ms", "8s", "6m0s".
std::string reset_text(double seconds);

}  // namespace echelon
