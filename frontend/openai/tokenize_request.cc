// Reading and answering /tokenize and /detokenize.
// Members and defaults are vLLM's.
#include "frontend/openai/tokenize_request.h"

#include <fmt/format.h>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "frontend/refusals.h"

namespace echelon {

namespace json = boost::json;

RequestResult<TokenizeRequest> parse_tokenize_request(const json::object& body, const ModelInfo& model) {
  TokenizeRequest request;
  JsonReader reader(body);
  std::string name;
  reader.read("model", name);
  if (!reader.failed()) {
    if (auto error = check_model(name, model)) return *error;
  }
  const bool has_prompt = reader.find("prompt") != nullptr;
  if (has_prompt == (reader.find("messages") != nullptr))
    reader.fail("prompt", "one of prompt and messages is needed", "missing_required_parameter");
  if (has_prompt) {
    reader.read("prompt", request.prompt);
  } else {
    request.add_special_tokens = false;
    read_conversation(reader, request.conversation.emplace());
  }
  reader.read("add_special_tokens", request.add_special_tokens);
  reader.read("return_token_strs", request.return_token_strings);
  reader.refuse_others({});
  if (reader.error()) return *reader.error();
  return request;
}

RequestResult<DetokenizeRequest> parse_detokenize_request(const json::object& body, const ModelInfo& model) {
  DetokenizeRequest request;
  JsonReader reader(body);
  std::string name;
  reader.read("model", name);
  if (!reader.failed()) {
    if (auto error = check_model(name, model)) return *error;
  }
  reader.require("tokens");
  reader.read("tokens", request.tokens, model.vocab_size, static_cast<size_t>(kMaxModelLen));
  reader.refuse_others({});
  if (reader.error()) return *reader.error();
  return request;
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
