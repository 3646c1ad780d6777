// Reading and answering /tokenize and /detokenize.
// Members and defaults are vLLM's.
#include "frontend/openai/tokenize_request.h"

#include <fmt/format.h>

#include <array>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "frontend/refusals.h"

namespace echelon {

namespace json = boost::json;

void read_tokenize_request(JsonReader& reader, const ModelInfo& model, TokenizeRequest& request) {
  read_model(reader, model);
  const auto read_rest = [&](JsonReader& rest, bool of_prompt) {
    request.add_special_tokens = of_prompt;
    if (of_prompt) {
      rest.require("prompt");
      rest.read("prompt", request.prompt);
    } else {
      read_conversation(rest, request.conversation.emplace());
    }
    rest.read("add_special_tokens", request.add_special_tokens);
    rest.read("return_token_strs", request.return_token_strings);
  };
  describe_each(reader, std::array{true, false}, read_rest);
  if (reader.describes()) return;
  const bool has_prompt = reader.find("prompt") != nullptr;
  if (has_prompt == (reader.find("messages") != nullptr))
    reader.fail("prompt", "one of prompt and messages is needed", "missing_required_parameter");
  read_rest(reader, has_prompt);
  reader.refuse_others({});
}

void read_detokenize_request(JsonReader& reader, const ModelInfo& model, DetokenizeRequest& request) {
  read_model(reader, model);
  reader.require("tokens");
  reader.read("tokens", request.tokens, model.vocab_size, static_cast<size_t>(kMaxModelLen));
  reader.refuse_others({});
}

RequestResult<TokenizeRequest> parse_tokenize_request(const json::object& body, const ModelInfo& model) {
  return parsed<TokenizeRequest>(body, model, &read_tokenize_request);
}

RequestResult<DetokenizeRequest> parse_detokenize_request(const json::object& body, const ModelInfo& model) {
  return parsed<DetokenizeRequest>(body, model, &read_detokenize_request);
}

json::object tokenizer_info_body(const ModelInfo& model) {
  const auto text_or_null = [](const std::string& text) { return text.empty() ? json::value() : json::value(text); };
  json::object body;
  body["tokenizer_class"] = "echelon";
  body["vocab_size"] = model.vocab_size;
  body["model_max_length"] = model.max_model_len;
  body["bos_token"] = text_or_null(model.bos_text);
  body["eos_token"] = text_or_null(model.eos_text);
  body["pad_token"] = nullptr;
  body["eos_token_ids"] = json::array(model.end_tokens.begin(), model.end_tokens.end());
  body["chat_template"] = model.chat_template == nullptr ? json::value() : json::value(model.chat_template->source());
  return body;
}

json::object tokenize_body(const std::vector<TokenId>& tokens, bool with_strings, const ModelInfo& model) {
  json::object body;
  body["count"] = tokens.size();
  body["max_model_len"] = model.max_model_len;
  body["tokens"] = json::array(tokens.begin(), tokens.end());
  body["token_strs"] = nullptr;
  if (with_strings) {
    json::array strings;
    for (const TokenId token : tokens) strings.emplace_back(model.tokenizer->spelling(token));
    body["token_strs"] = std::move(strings);
  }
  return body;
}

}  // namespace echelon
