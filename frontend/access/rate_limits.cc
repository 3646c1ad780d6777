// Levels are computed when somebody asks: no timer runs, and a key that rests costs nothing.
#include "frontend/access/rate_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace echelon {
namespace {

constexpr double kMinute = 60;

RequestError refused(std::string_view what, int64_t limit, double wait_s) {
  const int retry_s = std::max(1, static_cast<int>(std::ceil(wait_s)));
  return {.http_status = 429,
          .message = fmt::format("Rate limit reached for {} per min: limit {}. Please try again in {} s.", what, limit,
                                 retry_s),
          .type = std::string(what),
          .code = "rate_limit_exceeded",
          .retry_after_s = retry_s};
}

}  // namespace

double RateBucket::level(Time now) const {
  const double seconds = std::max(0.0, std::chrono::duration<double>(now - at_).count());
  const auto full = static_cast<double>(per_min_);
  return std::min(full, level_ + seconds * full / kMinute);
}

void RateBucket::set_rate(int64_t per_min, Time now) {
  if (per_min == per_min_) return;
  const auto full = static_cast<double>(per_min);
  level_ = per_min_ == 0 ? full : std::min(full, level(now));
  at_ = now;
  per_min_ = per_min;
}

void RateBucket::take(int64_t amount, Time now) {
  level_ = level(now) - static_cast<double>(amount);
  at_ = std::max(at_, now);
}

int64_t RateBucket::remaining(Time now) const { return std::max<int64_t>(0, std::floor(level(now))); }

double RateBucket::seconds_until(int64_t amount, Time now) const {
  if (per_min_ == 0) return 0;
  const double missing = static_cast<double>(std::min(amount, per_min_)) - level(now);
  return std::max(0.0, missing * kMinute / static_cast<double>(per_min_));
}

std::optional<RequestError> RateLimits::admit(const std::string& key, const KeyLimits& limits, Time now) {
  const std::lock_guard lock(mutex_);
  Buckets& buckets = keys_[key];
  buckets.requests.set_rate(limits.requests_per_min, now);
  buckets.tokens.set_rate(limits.tokens_per_min, now);
  if (const double wait_s = buckets.requests.seconds_until(1, now); wait_s > 0)
    return refused("requests", limits.requests_per_min, wait_s);
  if (const double wait_s = buckets.tokens.seconds_until(1, now); wait_s > 0)
    return refused("tokens", limits.tokens_per_min, wait_s);
  buckets.requests.take(1, now);
  return std::nullopt;
}

void RateLimits::charge(const std::string& key, int64_t tokens, Time now) {
  const std::lock_guard lock(mutex_);
  const auto found = keys_.find(key);
  if (found != keys_.end() && found->second.tokens.limit() > 0) found->second.tokens.take(tokens, now);
}

RateLimits::Report RateLimits::report(const std::string& key, Time now) const {
  const std::lock_guard lock(mutex_);
  Report report;
  const auto found = keys_.find(key);
  if (found == keys_.end()) return report;
  const auto state_of = [&](const RateBucket& bucket) -> std::optional<State> {
    if (bucket.limit() == 0) return std::nullopt;
    return State{.limit = bucket.limit(),
                 .remaining = bucket.remaining(now),
                 .reset_s = bucket.seconds_until(bucket.limit(), now)};
  };
  report.requests = state_of(found->second.requests);
  report.tokens = state_of(found->second.tokens);
  return report;
}

std::string reset_text(double seconds) {
  const auto ms = static_cast<int64_t>(std::ceil(seconds * 1000));
  if (ms < 1000) return fmt::format("{}ms", ms);
  const int64_t s = (ms + 999) / 1000;
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{}s", s / 60, s % 60);
  return fmt::format("{}h{}m{}s", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace echelon
