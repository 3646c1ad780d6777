// What a micro-batch takes on a stage, learned from those that ran: a line over its rows and the keys they read, fitted
// on line, so that prompts can be cut by time and not by tokens. No clock, one thread.
//
//   seconds = fixed + decodes * a + decode_keys * b + prompt_tokens * c + prompt_keys * d,   none of them negative
//
// A stage is no line: reading its weights costs the same for one row and for some. What ran lately counts most, so the
// line is right near the micro-batches that run now.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace echelon {

/// What a micro-batch asks for.
struct StepShape {
  int decodes = 0;         ///< rows of one token that choose the next
  double decode_keys = 0;  ///< positions that they read, all together
  int prompt_tokens = 0;
  double prompt_keys = 0;  ///< positions that these read, all together

  void add_decode(int position) {
    ++decodes;
    decode_keys += position + 1.0;
  }
  void add_prompt(int first_position, int num_tokens) {
    prompt_tokens += num_tokens;
    prompt_keys += static_cast<double>(num_tokens) * (first_position + (num_tokens + 1) / 2.0);
  }
};

class StepCost {
 public:
  /// A time that is not positive and finite is ignored; one far from others like it counts as a hiccup.
  void observe(const StepShape& shape, double seconds);

  /// Before the first observation every token costs 1.
  double seconds(const StepShape& shape) const;
  /// What prompt tokens from first_position on add to a micro-batch.
  double prompt_seconds(int first_position, int num_tokens) const;
  /// The most tokens that add no more than this; in [0, most].
  int prompt_tokens_within(double seconds, int first_position, int most) const;
  /// Prompt tokens of the largest micro-batch so far.
  int most_prompt_tokens() const { return most_prompt_tokens_; }

 private:
  static constexpr int kNumTerms = 5;
  using Terms = std::array<double, kNumTerms>;
  /// Micro-batches that look alike, as their mean.
  struct Group {
    uint32_t key = 0;
    int count = 0;
    uint64_t last = 0;  ///< number of its last observation
    Terms terms{};
    double seconds = 0;
  };
  static Terms terms_of(const StepShape& shape);
  Group& group_of(const StepShape& shape);
  void fit();

  std::vector<Group> groups_;
  Terms prices_{0, 1, 0, 1, 0};
  uint64_t num_observed_ = 0, next_fit_ = 1;
  int most_prompt_tokens_ = 0;
};

}  // namespace echelon
