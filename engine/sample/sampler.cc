#include "engine/sample/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "engine/sample/philox.h"
#include "kernels/base/check.h"
#include "kernels/base/math.h"
#include "kernels/cpu/float_environment.h"

namespace echelon {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr uint32_t kDrawStream = 0;

double gumbel(uint64_t seed, TokenId token, int position, int choice) {
  const auto id = static_cast<uint32_t>(token);
  const std::array<uint32_t, 4> bits =
      philox4x32({id / 4, static_cast<uint32_t>(position), static_cast<uint32_t>(choice), kDrawStream},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const double u = (static_cast<double>(bits[id % 4]) + 0.5) * 0x1p-32;
  return -math::log(-math::log(u));
}

/// NaN comes after everything.
bool comes_before(std::span<const float> logits, TokenId a, TokenId b) {
  return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
}

/// The least value (logit / temperature) that min_p leaves.
double floor_of(float most, const SamplingParams& params) {
  if (params.min_p == 0) return -std::numeric_limits<double>::infinity();
  return most / static_cast<double>(params.temperature) + math::log(params.min_p);
}

/// 1 / temperature, finite.
float factor_of(const SamplingParams& params) {
  return std::min(1.0f / params.temperature, std::numeric_limits<float>::max());
}

}  // namespace

SamplingState::SamplingState(const SamplingParams& sampling, int choice_index, int num_prompt_tokens,
                             std::span<const TokenId> tokens)
    : params(sampling), choice(choice_index), num_prompt(num_prompt_tokens) {
  const size_t prompt = std::min(static_cast<size_t>(num_prompt), tokens.size());
  if (params.has_penalties()) {
    for (const TokenId token : tokens.first(prompt)) ++prompt_counts[token];
  }
  for (const TokenId token : tokens.subspan(prompt)) note_output(token);
}

void SamplingState::note_output(TokenId token) {
  if (params.has_penalties()) ++output_counts[token];
  size_t longest = 1;
  for (const auto& word : params.bad_words) longest = std::max(longest, word.size());
  if (longest == 1) return;
  output_tail.push_back(token);
  if (output_tail.size() == longest) output_tail.erase(output_tail.begin());
}

OutputToken Sampler::sample(std::span<const float> logits, const SamplingState& state, int position,
                            const TokenMask* allowed) {
  const cpu::FloatEnvironment environment;
  OutputToken output;
  output.token = choose(logits, state, position, allowed);
  if (output.token != kNoToken && state.params.num_logprobs >= 0) {
    output.logprob = logprob(logits, output.token, state.params.num_logprobs);
  }
  return output;
}

TokenId Sampler::choose(std::span<const float> logits, const SamplingState& state, int position,
                        const TokenMask* allowed) {
  const SamplingParams& params = state.params;
  logits = adjusted(logits, state, position, allowed);
  read_maxima(logits);
  TokenId best = best_token(logits);
  if (best == kNoToken || params.temperature == 0) return best;
  if (params.typical_p < 1) {
    logits = typical(logits, best, params);
    read_maxima(logits);
    best = best_token(logits);
  }
  return draw(logits, best, state, position, truncate(logits, best, params));
}

/// Leaves the fewest tokens whose surprise (-log p) is nearest to the expected one and whose mass reaches typical_p,
/// the smaller id first of equals (Meister et al. 2023, arXiv 2202.00666).
std::span<const float> Sampler::typical(std::span<const float> logits, TokenId best, const SamplingParams& params) {
  const float most = logits[best], factor = factor_of(params);
  weights_.resize(logits.size());
  kernels_.weights(logits.data(), static_cast<int64_t>(logits.size()), most, factor, weights_.data());
  double whole = 0, behind = 0;  // behind: the mean of how much less likely than the best one a token is, times whole
  const auto gap = [&](size_t i) { return (double{most} - logits[i]) * factor; };
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] > 0) whole += weights_[i], behind += weights_[i] * gap(i);
  }
  const double expected = behind / whole;  // log p of the best one is left out of both
  sorted_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] > 0) sorted_.push_back(static_cast<TokenId>(i));
  }
  const auto is_nearer = [&](TokenId a, TokenId b) {
    const double distance_a = std::abs(gap(static_cast<size_t>(a)) - expected);
    const double distance_b = std::abs(gap(static_cast<size_t>(b)) - expected);
    return distance_a != distance_b ? distance_a < distance_b : a < b;
  };
  std::vector<float> kept(logits.size(), kMinusInfinity);
  double mass = 0;
  for (size_t first = 0, count = 64; first < sorted_.size() && mass < params.typical_p * whole; count *= 8) {
    const auto begin = sorted_.begin() + static_cast<ptrdiff_t>(first);
    const size_t end = std::min(sorted_.size(), first + count);
    const auto middle = sorted_.begin() + static_cast<ptrdiff_t>(end);
    std::nth_element(begin, middle, sorted_.end(), is_nearer);
    std::sort(begin, middle, is_nearer);
    for (; first < end && mass < params.typical_p * whole; ++first) {
      const auto token = static_cast<size_t>(sorted_[first]);
      mass += weights_[token];
      kept[token] = logits[token];
    }
  }
  adjusted_ = std::move(kept);
  return adjusted_;
}

void Sampler::read_maxima(std::span<const float> logits) {
  maxima_.resize((logits.size() + kLogitBlock - 1) / kLogitBlock);
  if (!logits.empty()) kernels_.block_maxima(logits.data(), static_cast<int64_t>(logits.size()), maxima_.data());
}

/// The most likely token, the smallest id of equals; kNoToken when no logit is finite, or one is infinite.
TokenId Sampler::best_token(std::span<const float> logits) const {
  const auto block = std::max_element(maxima_.begin(), maxima_.end());
  if (block == maxima_.end() || !std::isfinite(*block)) return kNoToken;
  TokenId token = static_cast<TokenId>((block - maxima_.begin()) * kLogitBlock);
  while (logits[token] != *block) ++token;
  return token;
}

/// Makes sorted_ the first `count` tokens of the order or more, all that there are if there are fewer.
void Sampler::sort_best(std::span<const float> logits, size_t count) {
  float lowest = kMinusInfinity;
  if (count < maxima_.size()) {  // `count` blocks have a logit at least as large as this one
    order_ = maxima_;
    std::nth_element(order_.begin(), order_.begin() + static_cast<ptrdiff_t>(count) - 1, order_.end(), std::greater());
    lowest = order_[count - 1];
  }
  sorted_.clear();
  for (size_t block = 0; block < maxima_.size(); ++block) {
    if (!(maxima_[block] >= lowest)) continue;
    const size_t end = std::min(logits.size(), (block + 1) * kLogitBlock);
    for (size_t i = block * kLogitBlock; i < end; ++i) {
      if (logits[i] >= lowest) sorted_.push_back(static_cast<TokenId>(i));
    }
  }
  std::sort(sorted_.begin(), sorted_.end(), [&](TokenId a, TokenId b) { return comes_before(logits, a, b); });
}

/// Where what min_p, top_k and top_p leave ends; min_p alone is left to the draw.
Sampler::Cut Sampler::truncate(std::span<const float> logits, TokenId best, const SamplingParams& params) {
  if (params.top_p < 1) return top_p_cut(logits, best, params);
  if (params.top_k <= 0) return {.logit = kMinusInfinity, .token = 0};
  sort_best(logits, static_cast<size_t>(params.top_k));
  return cut_after(logits, static_cast<size_t>(params.top_k));
}

Sampler::Cut Sampler::cut_after(std::span<const float> logits, size_t count) const {
  const TokenId last = sorted_[std::min(count, sorted_.size()) - 1];
  return {.logit = logits[last], .token = last};
}

/// The fewest whose mass reaches top_p of that of all that min_p and top_k leave. Sorts few: most often they are
/// enough.
Sampler::Cut Sampler::top_p_cut(std::span<const float> logits, TokenId best, const SamplingParams& params) {
  const float most = logits[best], factor = factor_of(params);
  const size_t top_k = params.top_k > 0 ? static_cast<size_t>(params.top_k) : logits.size();
  const bool has_top_k = params.top_k > 0, whole_vocabulary = !has_top_k && params.min_p == 0;
  double whole = 0;
  if (whole_vocabulary) whole = kernels_.sum_weights(logits.data(), static_cast<int64_t>(logits.size()), most, factor);
  const double floor = floor_of(most, params);
  constexpr size_t kFew = 64;
  const size_t wanted = has_top_k ? top_k : kFew;
  sort_best(logits, wanted);
  const auto above = std::partition_point(sorted_.begin(), sorted_.end(), [&](TokenId token) {
    return logits[token] / static_cast<double>(params.temperature) >= floor;
  });
  const size_t left = std::min(static_cast<size_t>(above - sorted_.begin()), top_k);
  const bool is_whole = has_top_k || wanted >= maxima_.size() || left < sorted_.size();
  if (whole_vocabulary || is_whole) {
    order_.resize(left);
    weights_.resize(left);
    for (size_t i = 0; i < left; ++i) order_[i] = logits[sorted_[i]];
    kernels_.weights(order_.data(), static_cast<int64_t>(left), most, factor, weights_.data());
    if (!whole_vocabulary) whole = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    double mass = 0;
    for (size_t i = 0; i < left; ++i) {
      mass += weights_[i];
      if (mass >= params.top_p * whole) return cut_after(logits, i + 1);
    }
    if (is_whole) return cut_after(logits, left);
  }
  return flat_top_p_cut(logits, most, params);
}

/// The same when many tokens share the mass: those of a narrow range of weights at once, and only the last range is
/// sorted.
Sampler::Cut Sampler::flat_top_p_cut(std::span<const float> logits, float most, const SamplingParams& params) {
  constexpr float kRangesPerUnit = 64, kLastRange = 1023;
  const float factor = factor_of(params);
  const double floor = floor_of(most, params);
  const auto range_of = [&](float logit) {
    return static_cast<size_t>(std::min((most - logit) * factor * kRangesPerUnit, kLastRange));
  };
  const auto is_left = [&](size_t i) {
    return weights_[i] > 0 && (params.min_p == 0 || logits[i] / static_cast<double>(params.temperature) >= floor);
  };
  weights_.resize(logits.size());
  kernels_.weights(logits.data(), static_cast<int64_t>(logits.size()), most, factor, weights_.data());
  std::array<double, static_cast<size_t>(kLastRange) + 1> masses{};
  for (size_t i = 0; i < logits.size(); ++i) {
    if (is_left(i)) masses[range_of(logits[i])] += weights_[i];
  }
  const double wanted = params.top_p * std::accumulate(masses.begin(), masses.end(), 0.0);
  double mass = 0;
  size_t range = 0;
  while (mass + masses[range] < wanted) mass += masses[range++];
  sorted_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (is_left(i) && range_of(logits[i]) == range) sorted_.push_back(static_cast<TokenId>(i));
  }
  std::sort(sorted_.begin(), sorted_.end(), [&](TokenId a, TokenId b) { return comes_before(logits, a, b); });
  size_t count = 0;
  while (count < sorted_.size() && mass < wanted) mass += weights_[sorted_[count++]];
  return cut_after(logits, std::max<size_t>(count, 1));
}

/// The largest of value + noise; of equals the smallest id.
TokenId Sampler::draw(std::span<const float> logits, TokenId best, const SamplingState& state, int position, Cut cut) {
  const SamplingParams& params = state.params;
  const double temperature = params.temperature, most = logits[best] / temperature;
  const double floor = floor_of(logits[best], params);
  TokenId winner = best;
  double winning = most + gumbel(params.seed, best, position, state.choice);
  GumbelDraw draw{.key = {static_cast<uint32_t>(params.seed), static_cast<uint32_t>(params.seed >> 32)},
                  .position = static_cast<uint32_t>(position),
                  .choice = static_cast<uint32_t>(state.choice),
                  .stream = kDrawStream,
                  .most = logits[best],
                  .factor = factor_of(params)};
  constexpr double kMargin = 1e-3;       // the kernel's rounding is below 1e-5
  constexpr float kLeastExponent = -24;  // e^-24 < 2^-33 <= 1 - u: no noise makes up for less
  draw.lead = static_cast<float>(most - winning + kMargin);
  for (size_t block = 0; block < maxima_.size(); ++block) {
    if (!(maxima_[block] >= cut.logit)) continue;
    if ((maxima_[block] - draw.most) * draw.factor + draw.lead < kLeastExponent) continue;
    const size_t first = block * kLogitBlock, count = std::min<size_t>(kLogitBlock, logits.size() - first);
    uint64_t left =
        kernels_.may_win(logits.data() + first, static_cast<int>(count), static_cast<uint32_t>(first), draw);
    for (; left != 0; left &= left - 1) {
      const auto token = static_cast<TokenId>(first + static_cast<size_t>(std::countr_zero(left)));
      const double value = logits[token] / temperature;
      const bool is_cut = logits[token] < cut.logit || (logits[token] == cut.logit && token > cut.token);
      if (value < floor || (is_cut && cut.logit > kMinusInfinity)) continue;
      const double score = value + gumbel(params.seed, token, position, state.choice);
      if (score > winning || (score == winning && token < winner)) {
        winning = score;
        winner = token;
        draw.lead = static_cast<float>(most - winning + kMargin);
      }
    }
  }
  return winner;
}

/// Tokens that may not be sampled now get no weight.
void Sampler::mask(const SamplingState& state, int position, const TokenMask* allowed) {
  const SamplingParams& params = state.params;
  bool must_end = false;
  if (allowed != nullptr) {
    for (size_t word = 0; word < allowed->words().size(); ++word) {
      const size_t first = word * 64, end = std::min(first + 64, adjusted_.size());
      if (allowed->words()[word] == 0) {  // most of them, but inside of strings
        std::fill(adjusted_.begin() + static_cast<ptrdiff_t>(first), adjusted_.begin() + static_cast<ptrdiff_t>(end),
                  kMinusInfinity);
        continue;
      }
      for (uint64_t no = ~allowed->words()[word]; no != 0; no &= no - 1) {
        const size_t token = first + static_cast<size_t>(std::countr_zero(no));
        if (token >= end) break;
        adjusted_[token] = kMinusInfinity;
      }
    }
    const auto is_allowed = [&](TokenId token) {
      return token >= 0 && token < allowed->width() && allowed->allows(token);
    };
    must_end = allowed->count() == std::count_if(end_tokens_.begin(), end_tokens_.end(), is_allowed);
  }
  const auto forbid = [&](TokenId token) {
    if (token >= 0 && static_cast<size_t>(token) < adjusted_.size()) adjusted_[token] = kMinusInfinity;
  };
  if (!params.allowed_token_ids.empty()) {
    std::vector<float> kept;
    for (const TokenId token : params.allowed_token_ids) kept.push_back(adjusted_[token]);
    std::fill(adjusted_.begin(), adjusted_.end(), kMinusInfinity);
    for (size_t i = 0; i < kept.size(); ++i) adjusted_[params.allowed_token_ids[i]] = kept[i];
  }
  for (const std::vector<TokenId>& word : params.bad_words) {
    const auto before = std::span(word).first(word.size() - 1);
    if (before.size() <= state.output_tail.size() &&
        std::equal(before.rbegin(), before.rend(), state.output_tail.rbegin()))
      forbid(word.back());
  }
  if (position - state.num_prompt >= params.min_tokens || must_end) return;
  for (const TokenId token : end_tokens_) forbid(token);
  for (const TokenId token : params.stop_token_ids) forbid(token);
}

/// Masks, biases and penalties; the span given when nothing applies.
std::span<const float> Sampler::adjusted(std::span<const float> logits, const SamplingState& state, int position,
                                         const TokenMask* allowed) {
  const SamplingParams& params = state.params;
  const bool masks = allowed != nullptr || position - state.num_prompt < params.min_tokens ||
                     !params.allowed_token_ids.empty() || !params.bad_words.empty();
  if (!masks && params.logit_bias.empty() && !params.has_penalties()) return logits;
  adjusted_.assign(logits.begin(), logits.end());
  if (masks) mask(state, position, allowed);
  for (const auto& [token, bias] : params.logit_bias) adjusted_[token] += bias;
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

TokenLogprob Sampler::logprob(std::span<const float> logits, TokenId token, int num_top) {
  ECHELON_CHECK(token >= 0 && static_cast<size_t>(token) < logits.size());
  const cpu::FloatEnvironment environment;
  read_maxima(logits);
  const float most = *std::max_element(maxima_.begin(), maxima_.end());
  const double mass = kernels_.sum_weights(logits.data(), static_cast<int64_t>(logits.size()), most, 1.0f);
  const double log_mass = math::log(mass) + most;
  const auto value = [&](TokenId id) { return static_cast<float>(static_cast<double>(logits[id]) - log_mass); };

  TokenLogprob result{.token = token, .logprob = value(token), .rank = 1, .top = {}};
  for (size_t block = 0; block < maxima_.size(); ++block) {
    if (maxima_[block] < logits[token]) continue;
    const size_t end = std::min(logits.size(), (block + 1) * kLogitBlock);
    for (size_t i = block * kLogitBlock; i < end; ++i) {
      result.rank += logits[i] > logits[token] || (logits[i] == logits[token] && static_cast<TokenId>(i) < token);
    }
  }
  if (num_top <= 0) return result;
  sort_best(logits, static_cast<size_t>(num_top));
  if (sorted_.size() > static_cast<size_t>(num_top)) sorted_.resize(static_cast<size_t>(num_top));
  for (const TokenId id : sorted_) result.top.emplace_back(id, value(id));
  return result;
}

}  // namespace echelon
