// How many prompt tokens a micro-batch may carry beside decodes, so that the decodes do not wait longer than a target.
// Learns from what micro-batches took: the time of one without prompts, and what a prompt token adds. No clock, one
// thread.
#pragma once

#include <algorithm>

namespace echelon {

class PromptPace {
 public:
  /// target_seconds: between two tokens of a sequence; 0: no limit.
  explicit PromptPace(double target_seconds) : target_s_(target_seconds) {}

  void observe(int num_prompt_tokens, int num_decodes, double seconds) {
    if (num_prompt_tokens == 0) {
      decode_s_ += (decode_s_ == 0 ? 1 : kSlowly) * (seconds - decode_s_);
      return;
    }
    double added = std::max(0.0, seconds - (num_decodes > 0 ? decode_s_ : 0)) / num_prompt_tokens;
    if (token_s_ > 0) added = std::min(added, kMostGrowth * token_s_);  // a machine's hiccup is not a price
    // Dearer tokens count at once, as the context of a prompt grows; cheaper ones have to go on for a while.
    token_s_ += (token_s_ == 0 ? 1 : added > token_s_ ? kAtOnce : kSlowly) * (added - token_s_);
  }

  /// In [1, most]. Where decodes alone take longer than the target, prompts still get a quarter of that time more, so
  /// that they come to an end.
  int limit(int most) const {
    if (target_s_ == 0) return most;
    if (token_s_ <= 0) return std::min(most, kFirstTokens);
    const double tokens = std::max(target_s_ - decode_s_, kLeastShare * decode_s_) / token_s_;
    return static_cast<int>(std::clamp(tokens, 1.0, static_cast<double>(most)));
  }

 private:
  static constexpr double kSlowly = 0.1, kAtOnce = 0.5, kMostGrowth = 2, kLeastShare = 0.25;
  static constexpr int kFirstTokens = 32;  ///< before anything is known
  double target_s_;
  double decode_s_ = 0, token_s_ = 0;
};

}  // namespace echelon
