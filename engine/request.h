// A request as the engine takes it, and what it gives back. The front end owns texts; the engine knows tokens only.
#pragma once

#include <chrono>
#include <limits>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/request_error.h"
#include "engine/sampling_params.h"
#include "kernels/base/token.h"

namespace echelon {

class Grammar;

/// What becomes of the hidden states of a prompt behind the final norm, in place of tokens: the last one, or the mean
/// of all (a sum in float64 in the order of positions, divided, rounded once).
enum class Pooling : uint8_t { none, last, mean };

/// The priority of work that nobody waits for. It runs in what the others leave: beside theirs it has one row of few
/// tokens in each micro-batch, by turns, and it gives its place and its blocks to others that wait.
inline constexpr int kBackgroundPriority = std::numeric_limits<int32_t>::max();

struct Request {
  std::string id;               ///< for logs; need not be unique
  std::vector<TokenId> prompt;  ///< at least one token
  SamplingParams sampling;
  int num_choices = 1;     ///< `n`; they share the prompt's KV blocks
  int first_choice = 0;    ///< its number: what is drawn at random depends on it
  /// Of one choice that goes on, without log-probabilities: what it had given elsewhere. It counts for max_tokens, and is
  /// not given again.
  std::vector<TokenId> output;
  int priority = 0;        ///< lower first; the last is kBackgroundPriority
  std::string tenant;      ///< inside a class tenants get shares by their weights; empty: the one without a name
  std::string cache_salt;  ///< of the prefix cache: prefixes are shared among requests with equal ones
  std::chrono::steady_clock::time_point arrival = std::chrono::steady_clock::now();
  std::shared_ptr<const Grammar> grammar;            ///< what every choice has to be a text of; null: anything
  Pooling pooling = Pooling::none;                   ///< else one choice, no grammar, no prompt log-probabilities
  std::optional<std::chrono::milliseconds> timeout;  ///< from arrival; choices that have not ended by then end so
};

enum class FinishReason : uint8_t { stop, length, abort, error, timeout };
inline constexpr size_t kNumFinishReasons = 5;

/// Log-probability of one token under the raw logits, and the most likely tokens at its position, best first.
struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
  int rank = 0;  ///< 1: the most likely
  std::vector<std::pair<TokenId, float>> top;
};

struct OutputToken {
  TokenId token = 0;
  std::optional<TokenLogprob> logprob;  ///< when num_logprobs >= 0
};

/// New tokens of one choice. Events of a choice arrive in order; the one with `finish` is its last.
struct OutputEvent {
  int choice = 0;
  std::vector<OutputToken> tokens;  ///< a stop token that ended the choice is included (and hidden by the front end)
  std::optional<FinishReason> finish;
  std::optional<TokenId> stop_token;          ///< the token that ended it, when one did
  std::string error;                          ///< FinishReason::error
  std::optional<RequestError> refusal;        ///< timeout, error: what the client is told, if it is its doing
  std::vector<TokenLogprob> prompt_logprobs;  ///< in choice 0's first event when asked: entries for prompt[1..]
  std::vector<float> pooled;                  ///< of a request that pools, ModelInfo::hidden_size, with its finish
  int num_cached_tokens = 0;                  ///< of the prompt, in a choice's first event
  double queue_seconds = -1;                  ///< from arrival to the request's first micro-batch, likewise
};

/// Receives the output of one request. Called on the engine's thread: it must not block and must not throw.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual void on_output(OutputEvent event) noexcept = 0;
};

using RequestHandle = uint64_t;  ///< never reused in a process

}  // namespace echelon
