// A sampler that sorts everything, keeps whole sets, prunes nothing and computes in double precision: what the real one
// is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "engine/sample/philox.h"
#include "engine/sample/sampler.h"

namespace echelon::reference {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline SamplingState state_of(const SamplingParams& params, int choice = 0) { return {params, choice, 0, {}}; }

inline double noise(uint64_t seed, TokenId token, int position, int choice) {
  const auto id = static_cast<uint32_t>(token);
  const auto lanes = philox4x32({id / 4, static_cast<uint32_t>(position), static_cast<uint32_t>(choice), 0},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return -std::log(-std::log((lanes[id % 4] + 0.5) / 4294967296.0));
}

inline std::vector<double> penalised(std::span<const float> logits, const SamplingParams& params,
                                     std::span<const TokenId> prompt, std::span<const TokenId> output) {
  std::vector<double> values(logits.begin(), logits.end());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    const auto& allowed = params.allowed_token_ids;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), token) == allowed.end()) values[i] = -kInfinity;
    for (const auto& word : params.bad_words) {
      std::vector<TokenId> text(output.begin(), output.end());
      text.push_back(token);
      if (text.size() >= word.size() && std::equal(word.rbegin(), word.rend(), text.rbegin())) values[i] = -kInfinity;
    }
    for (const TokenBias& each : params.logit_bias) values[i] += each.token == token ? each.bias : 0;
  }
  std::map<TokenId, int> output_counts;
  for (const TokenId token : output) ++output_counts[token];
  std::set<TokenId> seen(prompt.begin(), prompt.end());
  seen.insert(output.begin(), output.end());
  for (const TokenId token : seen) {
    values[token] =
        values[token] > 0 ? values[token] / params.repetition_penalty : values[token] * params.repetition_penalty;
  }
  for (const auto& [token, count] : output_counts) {
    values[token] -= double{params.frequency_penalty} * count + params.presence_penalty;
  }
  return values;
}

/// What typical_p leaves of tokens.
inline std::vector<TokenId> typical(std::vector<TokenId> ids, const std::vector<double>& logits,
                                    const SamplingParams& params) {
  if (params.typical_p >= 1) return ids;
  double whole = 0, entropy = 0;
  const auto weight = [&](TokenId id) { return std::exp((logits[id] - logits[ids[0]]) / params.temperature); };
  for (const TokenId id : ids) whole += weight(id);
  const auto surprise = [&](TokenId id) { return -std::log(weight(id) / whole); };
  for (const TokenId id : ids) entropy += weight(id) > 0 ? weight(id) / whole * surprise(id) : 0;
  std::vector<TokenId> nearest = ids;
  std::sort(nearest.begin(), nearest.end());
  std::stable_sort(nearest.begin(), nearest.end(), [&](TokenId a, TokenId b) {
    return std::abs(surprise(a) - entropy) < std::abs(surprise(b) - entropy);
  });
  std::set<TokenId> left;
  double mass = 0;
  for (const TokenId id : nearest) {
    if (mass >= params.typical_p * whole) break;
    mass += weight(id);
    left.insert(id);
  }
  std::erase_if(ids, [&](TokenId id) { return !left.contains(id); });
  return ids;
}

/// The tokens that typical_p, min_p, top_k and top_p leave, in that order of steps; best first.
inline std::vector<TokenId> support(const std::vector<double>& logits, const SamplingParams& params) {
  std::vector<TokenId> ids;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isfinite(logits[i])) ids.push_back(static_cast<TokenId>(i));
  }
  if (ids.empty()) return ids;
  std::stable_sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  ids = typical(std::move(ids), logits, params);
  const auto weight = [&](TokenId id) { return std::exp((logits[id] - logits[ids[0]]) / params.temperature); };
  std::vector<TokenId> kept;
  for (const TokenId id : ids) {
    if (weight(id) >= params.min_p) kept.push_back(id);
  }
  if (params.top_k > 0) kept.resize(std::min(kept.size(), static_cast<size_t>(params.top_k)));
  if (params.top_p < 1) {
    double whole = 0, mass = 0;
    for (const TokenId id : kept) whole += weight(id);
    size_t count = 0;
    while (count < kept.size() && mass < params.top_p * whole) mass += weight(kept[count++]);
    kept.resize(count);
  }
  return kept;
}

/// The largest of value + noise over the support, every one of them computed.
inline TokenId reference_draw(const std::vector<double>& logits, const SamplingParams& params, int position,
                              int choice) {
  TokenId winner = kNoToken;
  double most = 0;
  for (const TokenId id : support(logits, params)) {
    const double score = logits[id] / params.temperature + noise(params.seed, id, position, choice);
    if (winner == kNoToken || score > most) {
      most = score;
      winner = id;
    }
  }
  return winner;
}

inline std::vector<double> doubles(std::span<const float> logits) { return {logits.begin(), logits.end()}; }

inline std::vector<float> random_logits(std::mt19937& random, size_t size, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

template <typename T>
T pick(std::mt19937& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

}  // namespace echelon::reference
