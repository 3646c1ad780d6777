// Bodies of every endpoint that a model answers: the first byte says which, the rest is JSON.
#include <boost/json/serialize.hpp>

#include "frontend/anthropic/messages_request.h"
#include "frontend/model_endpoint.h"
#include "frontend/openai/prepare.h"
#include "tests/frontend/small_model.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

using AnswerText = RequestResult<boost::json::object> (*)(std::string_view body, const ModelInfo& model);

/// A refusal is the client's fault, and says why.
template <typename Result>
void check(const Result& result) {
  if (!result.has_error()) return;
  const RequestError& error = result.error();
  expect(error.http_status >= 400 && error.http_status < 500, "a body is answered with " + error.message);
  expect(!error.message.empty(), "a refusal without words");
}

void run(std::string_view input) {
  static const std::shared_ptr<const ModelInfo> model = testing::small_model();
  constexpr const ModelEndpoint* kEndpoints[] = {&kChatEndpoint,     &kCompletionsEndpoint, &kResponsesEndpoint,
                                                 &kMessagesEndpoint, &kEmbeddingsEndpoint,  &kScoreEndpoint,
                                                 &kRerankEndpoint};
  constexpr AnswerText kTexts[] = {&answer_tokenize, &answer_detokenize, &answer_apply_template, &answer_count_tokens};
  Pieces pieces(input);
  const size_t which = pieces.byte() % (std::size(kEndpoints) + std::size(kTexts));
  if (which >= std::size(kEndpoints)) {
    const auto answer = kTexts[which - std::size(kEndpoints)](pieces.rest(), *model);
    check(answer);
    if (answer.has_value()) boost::json::serialize(*answer);
    return;
  }
  const ModelEndpoint& endpoint = *kEndpoints[which];
  auto setup = prepare_whole(endpoint, pieces.rest(), model);
  check(setup);
  if (setup.has_error()) return;
  expect(!setup->prompts.empty(), "a request without a prompt was taken");
  for (const AnswerPrompt& prompt : setup->prompts) {
    expect(!prompt.tokens.empty(), "an empty prompt was taken");
    for (const TokenId token : prompt.tokens)
      expect(token >= 0 && token < testing::kSmallVocab, "a token beyond the vocabulary");
  }
  expect(!validate(setup->params.sampling, model->vocab_size), "sampling parameters that no engine takes");
  begin_answer(endpoint, "", *setup);
  endpoint.make_answer(std::move(*setup));
}

std::vector<std::string> seeds() {
  const std::string tool =
      R"({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": )"
      R"({"a": {"type": "integer"}}}, "strict": true}})";
  return {
      std::string("\x00", 1) +
          R"({"model": "small", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 0.5, "seed": 7, )"
          R"("stop": ["x"], "logprobs": true, "top_logprobs": 2, "n": 2, "stream": true, "stream_options": {"include_usage": true}})",
      std::string("\x00", 1) +
          R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", )"
          R"("content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, )"
          R"({"role": "tool", "tool_call_id": "c", "content": "2"}], "tool_choice": "auto", "parallel_tool_calls": false, "tools": [)" +
          tool + "]}",
      std::string("\x00", 1) +
          R"({"messages": [{"role": "user", "content": "j"}], "response_format": {"type": "json_schema", )"
          R"("json_schema": {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "null"}}}}}, "logit_bias": )"
          R"({"5": -10}, "chat_template_kwargs": {"x": 1}, "long_input": "truncate"})",
      "\x01"
      R"({"prompt": ["a", "b c"], "max_tokens": 0, "echo": true, "logprobs": 1, "best_of": 2, "bad_words": ["q"], "min_tokens": 1})",
      "\x01"
      R"({"prompt": [1, 2, 3], "guided_regex": "a+", "truncate_prompt_tokens": 2, "top_k": 5, "min_p": 0.1, "ignore_eos": true})",
      "\x02"
      R"({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}, {"type": "function_call_output", )"
      R"("call_id": "c", "output": "1"}], "instructions": "be", "max_output_tokens": 9, "text": {"format": {"type": "json_object"}}})",
      "\x03"
      R"({"model": "small", "max_tokens": 4, "system": "s", "messages": [{"role": "user", "content": [{"type": "text", "text": )"
      R"("a"}, {"type": "tool_result", "tool_use_id": "t", "content": "r"}]}], "tools": [{"name": "f", "input_schema": {"type": )"
      R"("object"}}], "tool_choice": {"type": "any"}, "stop_sequences": ["z"]})",
      "\x04"
      R"({"input": ["a", "b"], "encoding_format": "base64", "dimensions": 4})",
      "\x05"
      R"({"text_1": "a", "text_2": ["b", "c"]})",
      "\x06"
      R"({"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1})",
      "\x07"
      R"({"prompt": "a b", "add_special_tokens": false, "return_token_strs": true})",
      "\x08"
      R"({"tokens": [1, 104]})",
      "\x09"
      R"({"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": false})",
      "\x0a"
      R"({"messages": [{"role": "user", "content": "a"}]})"};
}

const Target target("request_body", run, seeds,
                    {"\"messages\"",
                     "\"role\"",
                     "\"content\"",
                     "\"user\"",
                     "\"assistant\"",
                     "\"system\"",
                     "\"tool\"",
                     "\"developer\"",
                     "\"tool_calls\"",
                     "\"tool_call_id\"",
                     "\"tools\"",
                     "\"tool_choice\"",
                     "\"required\"",
                     "\"function\"",
                     "\"arguments\"",
                     "\"prompt\"",
                     "\"input\"",
                     "\"instructions\"",
                     "\"stop\"",
                     "\"n\"",
                     "\"best_of\"",
                     "\"logprobs\"",
                     "\"top_logprobs\"",
                     "\"prompt_logprobs\"",
                     "\"logit_bias\"",
                     "\"seed\"",
                     "\"max_tokens\"",
                     "\"max_completion_tokens\"",
                     "\"min_tokens\"",
                     "\"temperature\"",
                     "\"top_p\"",
                     "\"top_k\"",
                     "\"min_p\"",
                     "\"typical_p\"",
                     "\"repetition_penalty\"",
                     "\"frequency_penalty\"",
                     "\"bad_words\"",
                     "\"allowed_token_ids\"",
                     "\"stop_token_ids\"",
                     "\"response_format\"",
                     "\"json_object\"",
                     "\"json_schema\"",
                     "\"structured_outputs\"",
                     "\"guided_json\"",
                     "\"guided_choice\"",
                     "\"guided_grammar\"",
                     "\"guided_regex\"",
                     "\"long_input\"",
                     "\"split\"",
                     "\"sliding\"",
                     "\"truncate\"",
                     "\"truncate_prompt_tokens\"",
                     "\"timeout\"",
                     "\"priority\"",
                     "\"cache_salt\"",
                     "\"continue_final_message\"",
                     "\"add_generation_prompt\"",
                     "\"chat_template_kwargs\"",
                     "\"reasoning_effort\"",
                     "\"encoding_format\"",
                     "\"dimensions\"",
                     "\"pooling\"",
                     "\"request_id\"",
                     "\"stream_options\"",
                     "null",
                     "true",
                     "false",
                     "-1",
                     "1e308",
                     "9223372036854775807",
                     "18446744073709551615",
                     "0.0",
                     "\"\\ud83d\"",
                     "\"\\u0000\"",
                     "[]",
                     "{}"});

}  // namespace
}  // namespace echelon::fuzzing
