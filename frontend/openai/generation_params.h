// The parameters that /v1/chat/completions and /v1/completions share, out of JSON.
// Meanings are OpenAI's, and vLLM's for the ones OpenAI does not have.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/grammar/grammar.h"
#include "frontend/openai/json_reader.h"
#include "frontend/parts/answer_parts.h"

namespace echelon {

inline constexpr int kMaxChoices = 16;
inline constexpr int kMaxPromptsTimesChoices = 128;
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 1024;
inline constexpr size_t kMaxBadWordStrings = 64;
inline constexpr size_t kMaxBadWordBytes = 256;
inline constexpr size_t kMaxRequestId = 64;
inline constexpr int kDefaultMaxTokens = 16;  ///< of /v1/completions; chats run to the end of the context

/// What becomes of a prompt that the context has no room for.
enum class LongInput {
  error,     ///< a 400 that says both lengths
  truncate,  ///< its end is kept
  split,     ///< it is answered part by part, the answers joined with newlines
  sliding,   ///< the context is a window over prompt and answer: the oldest tokens leave it
};

struct GenerationParams {
  std::string request_id;             ///< what the client calls it; empty: we find a name
  SamplingParams sampling;            ///< num_logprobs is set by the endpoint's own reader
  std::optional<int64_t> seed;        ///< as the client gave it
  std::optional<int64_t> max_tokens;  ///< as the client gave it; sampling.max_tokens is set when the prompt is known
  std::string max_tokens_name = "max_tokens";  ///< how the client spelled it
  int min_tokens = 0;  ///< as the client gave it, where the context slides: of all windows together
  int num_choices = 1;
  int num_returned = 0;        ///< the likeliest of num_choices (best_of); 0: all
  bool shows_logprobs = true;  ///< else sampling.num_logprobs is only for choosing among them
  int priority = 0;
  std::string user;        ///< without keys the tenant: requests of one user share what one of many gets
  std::string cache_salt;  ///< prefixes are shared among requests with equal ones
  std::optional<std::chrono::milliseconds> timeout;  ///< from arrival to the end of the answer
  Pooling pooling = Pooling::none;                   ///< of the prompts' hidden states, in place of an answer
  std::vector<std::string> stop;
  std::optional<GrammarSource> format;       ///< what the answer has to be a text of
  std::string format_parameter;              ///< which that came in, for errors
  std::shared_ptr<const Grammar> grammar;    ///< of `format`, when it is compiled
  std::shared_ptr<const AnswerParts> parts;  ///< null: the answer is one text
  std::optional<int64_t> prompt_logprobs;    ///< of each prompt token so many of the likeliest, and itself
  std::vector<std::string> bad_words;        ///< sampling.bad_words has their spellings when they are tokenised
  LongInput long_input = LongInput::error;
  std::optional<int64_t> truncate_prompt_tokens;  ///< the last so many are kept; -1: as many as there is room for
  bool stream = false, include_usage = false, continuous_usage = false;
  bool skip_special_tokens = true, include_stop = false, return_token_ids = false, include_reasoning = true;
};

/// Reads and checks them all; `reader` has the error if there is one. `min_max_tokens`: 0 for completions (echo alone).
void read_generation_params(JsonReader& reader, const ModelInfo& model, int min_max_tokens, GenerationParams& params);

/// Seconds, as OpenAI's client takes them.
void read_timeout(JsonReader& reader, GenerationParams& params);

/// A string, or an array of at most `most` of them, each of 1 to `most_bytes` bytes.
void read_strings(JsonReader& reader, std::string_view name, size_t most, size_t most_bytes,
                  std::vector<std::string>& out);

/// What the client calls its request: in the answer's id and in logs. Letters, digits and _.:-, at most kMaxRequestId.
void read_request_id(JsonReader& reader, std::string& id);

/// Refuses what is known to OpenAI's or vLLM's clients but not served here, unless its value asks for nothing. Tools
/// are only a chat's.
void refuse_unsupported(JsonReader& reader, bool is_chat, int num_choices);

/// Parameters that change nothing in an answer: accepted and ignored.
std::span<const std::string_view> ignored_parameters();

/// `model`: absent, or the one that is served; 404 for another.
void read_model(JsonReader& reader, const ModelInfo& model);
std::optional<RequestError> check_model(std::string_view name, const ModelInfo& model);

/// sampling.max_tokens and the context: a client's wish that does not fit is a 400, code context_length_exceeded.
/// `prompt_name` is the parameter the prompt came in; `default_max_tokens` <= 0: up to the end of the context.
std::optional<RequestError> fit_to_context(GenerationParams& params, size_t num_prompt_tokens, int max_model_len,
                                           std::string_view prompt_name, int default_max_tokens);

}  // namespace echelon
