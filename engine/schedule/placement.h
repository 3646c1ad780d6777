// Which replica a new request goes to. No clock, one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "engine/balance.h"
#include "engine/schedule/replica.h"

namespace echelon {

class Placement {
 public:
  explicit Placement(Balance balance) : balance_(balance) {}

  /// Index of one of `replicas` that are there, at least one; ties go to the first.
  size_t choose(std::span<const std::unique_ptr<Replica>> replicas, std::span<const TokenId> prompt,
                uint64_t cache_salt) {
    if (balance_ == Balance::round_robin) {
      while (replicas[next_ % replicas.size()] == nullptr) ++next_;
      return next_++ % replicas.size();
    }
    const auto cost = [&](const std::unique_ptr<Replica>& replica) {
      if (replica == nullptr) return std::numeric_limits<double>::infinity();
      const Scheduler& scheduler = replica->scheduler();
      auto tokens = static_cast<double>(scheduler.load());
      if (balance_ == Balance::least_loaded) return tokens;
      tokens += kUncached * (static_cast<double>(prompt.size()) - scheduler.num_cached_tokens(prompt, cache_salt));
      return balance_ == Balance::latency ? tokens * replica->seconds_per_token() : tokens;
    };
    std::vector<double> costs;
    for (const auto& replica : replicas) costs.push_back(cost(replica));
    return static_cast<size_t>(std::min_element(costs.begin(), costs.end()) - costs.begin());
  }

 private:
  static constexpr double kUncached = 2;  ///< a token that is run twice takes memory twice
  Balance balance_;
  size_t next_ = 0;
};

}  // namespace echelon
