// One line per parameter, and two tables: what is ignored, and what is refused unless it asks for nothing.
// Ranges of the sampling parameters are the engine's (validate()); here are the ones the engine never sees.
#include "frontend/openai/generation_params.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>

#include "frontend/openai/output_format.h"
#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr auto kIgnored = std::to_array<std::string_view>({
    "store",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
});

/// Values that ask for nothing.
enum class Neutral { empty, none_word, false_value, text_modality, num_choices };

struct Unsupported {
  std::string_view name;
  Neutral neutral;
  bool chats_have_it;
};

constexpr auto kUnsupported = std::to_array<Unsupported>({
    {"tools", Neutral::empty, true},
    {"tool_choice", Neutral::none_word, true},
    {"functions", Neutral::empty, false},
    {"function_call", Neutral::none_word, false},
    {"best_of", Neutral::num_choices, false},
    {"suffix", Neutral::empty, false},
    {"modalities", Neutral::text_modality, false},
    {"use_beam_search", Neutral::false_value, false},
});

bool asks_for_nothing(const json::value& value, Neutral neutral, int num_choices) {
  switch (neutral) {
    case Neutral::empty:
      return (value.is_array() && value.get_array().empty()) || (value.is_object() && value.get_object().empty()) ||
             (value.is_string() && value.get_string().empty());
    case Neutral::none_word:
      return value.is_string() && value.get_string() == "none";
    case Neutral::false_value:
      return value.is_bool() && !value.get_bool();
    case Neutral::text_modality:
      return value == json::array{"text"};
    case Neutral::num_choices:
      return as_integer(value) == num_choices;
  }
  return false;
}

/// The same as JSON Schema.
json::object neutral_shape(Neutral neutral) {
  switch (neutral) {
    case Neutral::empty:
      return {
          {"type", json::array{"array", "object", "string"}}, {"maxItems", 0}, {"maxProperties", 0}, {"maxLength", 0}};
    case Neutral::none_word:
      return {{"const", "none"}};
    case Neutral::false_value:
      return {{"const", false}};
    case Neutral::text_modality:
      return {{"const", json::array{"text"}}};
    case Neutral::num_choices:
      return integer_shape(1, kMaxChoices);
  }
  return {};
}

/// {"token id": number}, as OpenAI has it.
void read_logit_bias(JsonReader& reader, int64_t vocab_size, std::vector<TokenBias>& out) {
  const json::value* value = reader.find_shaped("logit_bias", [] {
    return json::object{
        {"type", "object"},
        {"maxProperties", kMaxLogitBiases},
        {"propertyNames", json::object{{"pattern", "^[0-9]+$"}}},
        {"additionalProperties", json::object{{"type", "number"}, {"minimum", -100}, {"maximum", 100}}}};
  });
  if (value == nullptr) return;
  if (!value->is_object()) {
    return reader.fail("logit_bias", fmt::format("logit_bias must be an object, not {}", kind_name(*value)));
  }
  const json::object& biases = value->get_object();
  if (biases.size() > kMaxLogitBiases)
    return reader.fail("logit_bias", fmt::format("logit_bias has more than {} tokens", kMaxLogitBiases));
  for (const auto& [key, bias] : biases) {
    TokenId token = -1;
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (code != std::errc() || end != key.data() + key.size() || token < 0 || token >= vocab_size) {
      return reader.fail("logit_bias", fmt::format("logit_bias has a key that is no token id below {}", vocab_size));
    }
    const auto number = bias.is_number() ? bias.to_number<double>() : std::nan("");
    if (!(number >= -100 && number <= 100))
      return reader.fail("logit_bias", fmt::format("logit_bias of token {} must be a number from -100 to 100", token));
    out.push_back({.token = token, .bias = static_cast<float>(number)});
  }
}

void read_allowed_token_ids(JsonReader& reader, int64_t vocab_size, std::vector<TokenId>& out) {
  const json::value* value = reader.find_shaped(
      "allowed_token_ids", [&] { return array_shape(integer_shape(0, vocab_size - 1), kMaxAllowedTokens, 1); });
  reader.read("allowed_token_ids", out, vocab_size, kMaxAllowedTokens);
  if (value != nullptr && !reader.failed() && out.empty())
    reader.fail("allowed_token_ids", "allowed_token_ids is empty: no token could be sampled");
}

void read_stream_options(JsonReader& reader, GenerationParams& params) {
  read_object(reader, "stream_options", [&](JsonReader& options) {
    options.read("include_usage", params.include_usage);
    options.read("continuous_usage_stats", params.continuous_usage);
    bool obfuscation = false;  // padding against traffic analysis: not offered, and nothing depends on it
    options.read("include_obfuscation", obfuscation);
  });
  if (reader.find("stream_options") != nullptr && !params.stream)
    reader.fail("stream_options", "stream_options is only allowed with stream: true");
}

void read_long_input(JsonReader& reader, GenerationParams& params) {
  constexpr std::string_view kWords[] = {"error", "truncate", "split", "sliding"};  // as LongInput has them
  std::string word(kWords[0]);
  reader.read_word("long_input", word, kWords);
  params.long_input = static_cast<LongInput>(std::find(std::begin(kWords), std::end(kWords), word) - kWords);
  if (params.long_input != LongInput::error && params.truncate_prompt_tokens)
    reader.fail("long_input", "long_input and truncate_prompt_tokens exclude each other");
  if (params.long_input == LongInput::sliding && params.sampling.has_penalties())
    reader.fail("long_input", "long_input: sliding has no penalties: they are over all tokens, and the window forgets");
}

void read_max_tokens(JsonReader& reader, int min, GenerationParams& params) {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  std::optional<int64_t> newer;
  reader.read("max_tokens", params.max_tokens, min, kMost);
  reader.read("max_completion_tokens", newer, min, kMost);
  if (!newer) return;
  params.max_tokens = newer;
  params.max_tokens_name = "max_completion_tokens";
}

}  // namespace

void read_timeout(JsonReader& reader, GenerationParams& params) {
  constexpr SamplingRange kSeconds{0.001f, 1e6f};
  float seconds = 0;
  reader.read("timeout", seconds, kSeconds);
  if (seconds == 0) return;
  params.timeout = std::chrono::milliseconds(std::llround(double{seconds} * 1e3));
}

void read_request_id(JsonReader& reader, std::string& id) {
  reader.find("request_id", R"({"type": "string", "pattern": "^[0-9A-Za-z_.:-]{1,64}$"})");
  reader.read("request_id", id);
  if (reader.find("request_id") == nullptr || reader.failed()) return;
  if (!is_identifier(id, kMaxRequestId))
    reader.fail("request_id", fmt::format("request_id must be 1 to {} of letters, digits and _.:-", kMaxRequestId));
}

void read_strings(JsonReader& reader, std::string_view name, size_t most, size_t most_bytes,
                  std::vector<std::string>& out) {
  const json::value* value = reader.find_shaped(name, [&] {
    const json::object one{{"type", "string"}, {"minLength", 1}, {"maxLength", most_bytes}};
    return any_of({one, array_shape(one, most)});
  });
  if (value == nullptr) return;
  const auto add = [&](const json::value& one) {
    if (!one.is_string() || one.get_string().empty() || one.get_string().size() > most_bytes) {
      reader.fail(name,
                  fmt::format("{} must be a string, or an array of strings, of 1 to {} bytes each", name, most_bytes));
      return;
    }
    out.emplace_back(one.get_string());
  };
  if (!value->is_array()) return add(*value);
  if (value->get_array().size() > most) {
    reader.fail(name, fmt::format("{} has more than {} strings", name, most));
    return;
  }
  for (const auto& one : value->get_array()) add(one);
}

std::span<const std::string_view> ignored_parameters() { return kIgnored; }

void refuse_unsupported(JsonReader& reader, bool is_chat, int num_choices) {
  for (const auto& [name, neutral, chats_have_it] : kUnsupported) {
    if (is_chat && chats_have_it) continue;
    const json::value* value = reader.find_shaped(name, [neutral = neutral] { return neutral_shape(neutral); });
    if (value == nullptr || asks_for_nothing(*value, neutral, num_choices)) continue;
    reader.fail(name, fmt::format("{} is not supported with this value", name), "unsupported_parameter");
  }
}

void read_generation_params(JsonReader& reader, const ModelInfo& model, int min_max_tokens, GenerationParams& params) {
  constexpr int64_t kInt32Min = std::numeric_limits<int32_t>::min(), kInt32Max = std::numeric_limits<int32_t>::max();
  SamplingParams& sampling = params.sampling;
  sampling = model.default_sampling;

  read_model(reader, model);
  read_max_tokens(reader, min_max_tokens, params);
  reader.read("temperature", sampling.temperature, kTemperatureRange);
  reader.read("top_p", sampling.top_p, kTopPRange);
  reader.read("top_k", sampling.top_k, -1, kInt32Max);
  reader.read("min_p", sampling.min_p, kMinPRange);
  reader.read("typical_p", sampling.typical_p, kTypicalPRange);
  reader.read("repetition_penalty", sampling.repetition_penalty, kRepetitionPenaltyRange);
  reader.read("presence_penalty", sampling.presence_penalty, kPenaltyRange);
  reader.read("frequency_penalty", sampling.frequency_penalty, kPenaltyRange);
  reader.read("seed", params.seed, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  reader.read("n", params.num_choices, 1, kMaxChoices);
  read_strings(reader, "stop", kMaxStopStrings, kMaxStopStringBytes, params.stop);
  read_strings(reader, "bad_words", kMaxBadWordStrings, kMaxBadWordBytes, params.bad_words);
  read_logit_bias(reader, model.vocab_size, sampling.logit_bias);
  read_allowed_token_ids(reader, model.vocab_size, sampling.allowed_token_ids);
  reader.read("prompt_logprobs", params.prompt_logprobs, 0, kMaxLogprobs);
  sampling.num_prompt_logprobs = static_cast<int>(params.prompt_logprobs.value_or(-1));
  reader.read("truncate_prompt_tokens", params.truncate_prompt_tokens, -1, kInt32Max);
  read_long_input(reader, params);
  read_request_id(reader, params.request_id);
  reader.read("stop_token_ids", sampling.stop_token_ids, model.vocab_size, kMaxStopTokens);
  reader.read("stream", params.stream);
  read_stream_options(reader, params);
  reader.read("ignore_eos", sampling.ignore_eos);
  reader.read("min_tokens", sampling.min_tokens, 0, kInt32Max);
  reader.read("priority", params.priority, kInt32Min, kInt32Max);
  reader.read("user", params.user);
  reader.read("cache_salt", params.cache_salt);
  read_timeout(reader, params);
  read_structured_outputs(reader, params);
  reader.read("skip_special_tokens", params.skip_special_tokens);
  reader.read("include_stop_str_in_output", params.include_stop);
  reader.read("return_token_ids", params.return_token_ids);

  if (!reader.failed() && params.prompt_logprobs && params.stream)
    reader.fail("prompt_logprobs", "prompt_logprobs cannot be streamed");
  if (!reader.failed() && params.truncate_prompt_tokens == 0)
    reader.fail("truncate_prompt_tokens", "truncate_prompt_tokens must be -1 or at least 1");
  if (!reader.failed() && params.max_tokens && sampling.min_tokens > *params.max_tokens)
    reader.fail("min_tokens", fmt::format("min_tokens must be at most {}", params.max_tokens_name));
}

std::optional<RequestError> check_model(std::string_view name, const ModelInfo& model) {
  if (name.empty() || name == model.name) return std::nullopt;
  RequestError error = bad_request(
      "model", fmt::format("The model `{}` does not exist; the one served here is `{}`", shortened(name), model.name),
      "model_not_found");
  error.http_status = 404;
  return error;
}

void read_model(JsonReader& reader, const ModelInfo& model) {
  std::string name;
  reader.find_shaped("model", [&] { return words_shape(std::array<std::string_view, 1>{model.name}); });
  reader.read("model", name);
  if (const auto error = check_model(name, model)) reader.fail(*error);
}

std::optional<RequestError> fit_to_context(GenerationParams& params, size_t num_prompt_tokens, int max_model_len,
                                           std::string_view prompt_name, int default_max_tokens) {
  const auto limit = static_cast<int64_t>(max_model_len);
  const auto prompt = static_cast<int64_t>(num_prompt_tokens);
  if (prompt == 0) return bad_request(prompt_name, "the prompt has no tokens; at least one is needed");
  const int64_t room = limit - prompt;
  if (room < 1) {
    return bad_request(prompt_name,
                       fmt::format("This model's maximum context length is {} tokens. However, your prompt has {} "
                                   "tokens. Please reduce the length of the prompt.",
                                   limit, prompt),
                       "context_length_exceeded");
  }
  const int64_t wanted = params.max_tokens.value_or(default_max_tokens > 0 ? default_max_tokens : room);
  if (params.max_tokens && wanted > room && params.long_input != LongInput::sliding) {
    return bad_request(params.max_tokens_name,
                       fmt::format("This model's maximum context length is {} tokens. However, you requested {} tokens "
                                   "({} in the prompt, {} in the completion). Please reduce one of them.",
                                   limit, prompt + wanted, prompt, wanted),
                       "context_length_exceeded");
  }
  params.sampling.max_tokens = static_cast<int>(std::max<int64_t>(1, std::min(wanted, room)));
  return std::nullopt;
}

}  // namespace echelon
