#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sample/philox.h"
#include "kernels/base/check.h"
#include "kernels/base/math.h"

namespace echelon {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr uint32_t kDrawStream = 0;

/// u = (x + 1/2) / 2^32 lies in [2^-33, 1 - 2^-33], so noise lies in [-3.14, 22.88].
constexpr double kLargestNoise = 22.88;

double gumbel(uint64_t seed, TokenId token, int position, int choice) {
  const auto id = static_cast<uint32_t>(token);
  const std::array<uint32_t, 4> bits =
      philox4x32({id / 4, static_cast<uint32_t>(position), static_cast<uint32_t>(choice), kDrawStream},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const double u = (static_cast<double>(bits[id % 4]) + 0.5) * 0x1p-32;
  return -math::log(-math::log(u));
}

/// The most likely token, the smallest id of equals; kNoToken when no logit is finite.
TokenId best_token(std::span<const float> logits) {
  TokenId best = kNoToken;
  float most = kMinusInfinity;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > most) {
      most = logits[i];
      best = static_cast<TokenId>(i);
    }
  }
  return std::isfinite(most) ? best : kNoToken;
}

}  // namespace

SamplingState::SamplingState(const SamplingParams& sampling, int choice_index, int num_prompt_tokens,
                             std::span<const TokenId> tokens)
    : params(sampling), choice(choice_index), num_prompt(num_prompt_tokens) {
  if (!params.has_penalties()) return;
  for (size_t i = 0; i < tokens.size(); ++i)
    ++(static_cast<int>(i) < num_prompt ? prompt_counts : output_counts)[tokens[i]];
}

void SamplingState::note_output(TokenId token) {
  if (params.has_penalties()) ++output_counts[token];
}

OutputToken Sampler::sample(std::span<const float> logits, const SamplingState& state, int position) {
  OutputToken output;
  output.token = choose(logits, state, position);
  if (output.token != kNoToken && state.params.num_logprobs >= 0) {
    output.logprob = logprob(logits, output.token, state.params.num_logprobs);
  }
  return output;
}

TokenId Sampler::choose(std::span<const float> logits, const SamplingState& state, int position) {
  const SamplingParams& params = state.params;
  logits = adjusted(logits, state, position);
  const TokenId best = best_token(logits);
  if (best == kNoToken || params.temperature == 0) return best;

  const double temperature = params.temperature;
  const double most = logits[best] / temperature;
  const double floor = params.min_p > 0 ? most + math::log(params.min_p) : -std::numeric_limits<double>::infinity();
  const bool truncates = params.top_k > 0 || params.top_p < 1;
  if (truncates) {
    candidates_.clear();
    for (size_t i = 0; i < logits.size(); ++i) {
      const double value = logits[i] / temperature;
      if (value >= floor && logits[i] > kMinusInfinity) candidates_.push_back({value, static_cast<TokenId>(i)});
    }
    truncate(params);
  }
  TokenId winner = best;
  double winning = most + gumbel(params.seed, best, position, state.choice);
  const auto consider = [&](double value, TokenId token) {
    if (!(value + kLargestNoise >= winning)) return;  // cannot win
    const double score = value + gumbel(params.seed, token, position, state.choice);
    if (score > winning || (score == winning && token < winner)) {
      winning = score;
      winner = token;
    }
  };
  if (truncates) {
    for (const Candidate& candidate : candidates_) consider(candidate.value, candidate.token);
  } else {
    for (size_t i = 0; i < logits.size(); ++i) {
      const double value = logits[i] / temperature;
      if (value >= floor) consider(value, static_cast<TokenId>(i));
    }
  }
  return winner;
}

/// Tokens not allowed yet and penalties; the span given when nothing applies.
std::span<const float> Sampler::adjusted(std::span<const float> logits, const SamplingState& state, int position) {
  const SamplingParams& params = state.params;
  const bool masks = position - state.num_prompt < params.min_tokens;
  if (!masks && !params.has_penalties()) return logits;
  adjusted_.assign(logits.begin(), logits.end());
  const auto in_vocabulary = [&](TokenId token) { return token >= 0 && static_cast<size_t>(token) < adjusted_.size(); };
  if (masks) {
    for (const TokenId token : end_tokens_) {
      if (in_vocabulary(token)) adjusted_[token] = kMinusInfinity;
    }
    for (const TokenId token : params.stop_token_ids) {
      if (in_vocabulary(token)) adjusted_[token] = kMinusInfinity;
    }
  }
  const auto repeat = [&](TokenId token) {
    float& logit = adjusted_[token];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
  };
  for (const auto& [token, count] : state.prompt_counts) repeat(token);
  for (const auto& [token, count] : state.output_counts) {
    if (!state.prompt_counts.contains(token)) repeat(token);
    adjusted_[token] -= params.frequency_penalty * static_cast<float>(count);
    adjusted_[token] -= params.presence_penalty;
  }
  return adjusted_;
}

void Sampler::truncate(const SamplingParams& params) {
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) {
    const auto better = [](const Candidate& a, const Candidate& b) {
      return a.value != b.value ? a.value > b.value : a.token < b.token;
    };
    std::nth_element(candidates_.begin(), candidates_.begin() + params.top_k, candidates_.end(), better);
    candidates_.resize(params.top_k);
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  }
  if (params.top_p < 1) keep_top_p(params.top_p);
}

/// The fewest best candidates whose mass reaches top_p of the whole. Candidates come in the order of their ids.
void Sampler::keep_top_p(double top_p) {
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.value != b.value ? a.value > b.value : a.token < b.token;
  };
  double most = candidates_[0].value;
  for (const Candidate& candidate : candidates_) most = std::max(most, candidate.value);
  double whole = 0;
  for (const Candidate& candidate : candidates_) whole += math::exp(candidate.value - most);
  double mass = 0;
  size_t sorted = 0;
  for (size_t chunk = 64; sorted < candidates_.size(); chunk *= 4) {  // sort only as far as the mass needs
    const size_t end = std::min(sorted + chunk, candidates_.size());
    std::partial_sort(candidates_.begin() + static_cast<ptrdiff_t>(sorted),
                      candidates_.begin() + static_cast<ptrdiff_t>(end), candidates_.end(), better);
    for (; sorted < end; ++sorted) {
      mass += math::exp(candidates_[sorted].value - most);
      if (mass >= top_p * whole) {
        candidates_.resize(sorted + 1);
        return;
      }
    }
  }
}

TokenLogprob Sampler::logprob(std::span<const float> logits, TokenId token, int num_top) {
  ECHELON_CHECK(token >= 0 && static_cast<size_t>(token) < logits.size());
  float most = kMinusInfinity;
  for (const float logit : logits) most = std::max(most, logit);
  double mass = 0;
  for (const float logit : logits) mass += math::exp(static_cast<double>(logit) - most);
  const double log_mass = math::log(mass) + most;
  const auto value = [&](TokenId id) { return static_cast<float>(static_cast<double>(logits[id]) - log_mass); };

  TokenLogprob result{.token = token, .logprob = value(token), .rank = 1, .top = {}};
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > logits[token] || (logits[i] == logits[token] && static_cast<TokenId>(i) < token)) ++result.rank;
  }
  if (num_top <= 0) return result;
  const auto better = [&](TokenId a, TokenId b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  std::vector<TokenId> best;  // sorted, at most num_top
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    if (static_cast<int>(best.size()) == num_top && !better(id, best.back())) continue;
    best.insert(std::upper_bound(best.begin(), best.end(), id, better), id);
    if (static_cast<int>(best.size()) > num_top) best.pop_back();
  }
  for (const TokenId id : best) result.top.emplace_back(id, value(id));
  return result;
}

}  // namespace echelon
