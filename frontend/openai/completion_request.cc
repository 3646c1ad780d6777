// The completions endpoint's own parameters: prompt, echo and logprobs.
// OpenAI's logprobs is a number here, not a boolean as in chats; true counts as 1, as with vLLM.
#include "frontend/openai/completion_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/openai/output_format.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

namespace json = boost::json;

json::object prompts_shape(int64_t vocab_size, size_t most) {
  const json::object text{{"type", "string"}};
  const json::object ids = array_shape(integer_shape(0, vocab_size - 1), static_cast<size_t>(kMaxModelLen), 1);
  return any_of({text, ids, array_shape(text, most, 1), array_shape(ids, most, 1)});
}

}  // namespace

std::vector<PromptInput> read_prompts(JsonReader& reader, std::string_view name, int64_t vocab_size, size_t most) {
  std::vector<PromptInput> prompts;
  reader.find_shaped(name, [&] { return prompts_shape(vocab_size, most); });
  const json::value& value = reader.require(name);
  const auto add_ids = [&](const json::array& array, std::string_view path) {
    auto ids = read_token_ids(array, path, vocab_size);
    if (ids.has_error()) return reader.fail(ids.error());
    prompts.emplace_back(std::move(*ids));
  };
  const auto refuse = [&] {
    reader.fail(name, fmt::format("{} must be a string, an array of strings, an array of token ids, or an array of "
                                  "arrays of token ids, and not empty",
                                  name));
    return prompts;
  };
  if (reader.failed() || reader.describes()) return prompts;
  if (value.is_string()) {
    prompts.emplace_back(std::string(value.get_string()));
    return prompts;
  }
  if (!value.is_array() || value.get_array().empty()) return refuse();
  const json::array& array = value.get_array();
  if (array.front().is_number()) {
    add_ids(array, name);
    return prompts;
  }
  if (!is_array_of(reader, name, value, {1, most, "prompts"})) return prompts;
  for (size_t i = 0; i < array.size() && !reader.failed(); ++i) {
    if (array[i].kind() != array.front().kind()) return refuse();
    if (array[i].is_string()) {
      prompts.emplace_back(std::string(array[i].get_string()));
    } else if (array[i].is_array() && !array[i].get_array().empty()) {
      add_ids(array[i].get_array(), fmt::format("{}[{}]", name, i));
    } else {
      return refuse();
    }
  }
  return prompts;
}

namespace {

/// A number, or true from clients that send to both endpoints alike (promptfoo).
void read_logprobs(JsonReader& reader, SamplingParams& sampling) {
  const json::value* value =
      reader.find("logprobs", R"({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 20}, {"type": "boolean"}]})");
  if (value == nullptr || !value->is_bool()) return reader.read("logprobs", sampling.num_logprobs, 0, kMaxLogprobs);
  if (value->get_bool()) sampling.num_logprobs = 1;
}

/// The engine makes best_of choices; the n with the largest mean log-probability are returned.
void read_best_of(JsonReader& reader, GenerationParams& params) {
  int best_of = params.num_choices;
  reader.read("best_of", best_of, 1, kMaxChoices);
  if (reader.failed() || best_of == params.num_choices) return;
  if (best_of < params.num_choices) return reader.fail("best_of", "best_of must be at least n");
  if (params.stream) return reader.fail("best_of", "best_of above n cannot be streamed: the choice is made at the end");
  params.num_returned = params.num_choices;
  params.num_choices = best_of;
  params.shows_logprobs = params.sampling.num_logprobs >= 0;
  params.sampling.num_logprobs = std::max(params.sampling.num_logprobs, 0);
}

}  // namespace

void read_completion_request(JsonReader& reader, const ModelInfo& model, CompletionRequest& request) {
  GenerationParams& params = request.params;
  reader.read("echo", request.echo);
  read_generation_params(reader, model, request.echo ? 0 : 1, params);
  request.echo_only = request.echo && params.max_tokens == 0;
  if (request.echo_only) params.max_tokens = 1;
  reader.read("add_special_tokens", request.add_special_tokens);
  read_logprobs(reader, params.sampling);
  if (request.echo)
    params.sampling.num_prompt_logprobs = std::max(params.sampling.num_prompt_logprobs, params.sampling.num_logprobs);
  read_best_of(reader, params);

  request.prompts = read_prompts(reader, "prompt", model.vocab_size, kMaxPromptsTimesChoices);
  if (request.prompts.size() * static_cast<size_t>(params.num_choices) > kMaxPromptsTimesChoices)
    reader.fail("n", fmt::format("prompts times n (or best_of) must be at most {}", kMaxPromptsTimesChoices));
  read_response_format(reader, params);
  refuse_unsupported(reader, false, params.num_choices);
  reader.refuse_others(ignored_parameters());
}

RequestResult<CompletionRequest> parse_completion_request(const json::object& body, const ModelInfo& model) {
  return parsed<CompletionRequest>(body, model, &read_completion_request);
}

}  // namespace echelon
