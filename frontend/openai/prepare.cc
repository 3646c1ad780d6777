// The order of checks: JSON, parameters, template, tokens, context, and last the engine's own ranges (validate).
// Nothing here keeps state or blocks.
#include "frontend/openai/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "frontend/openai/ids.h"
#include "frontend/openai/long_input.h"
#include "frontend/openai/tokenize_request.h"
#include "frontend/parts/tool_prompt.h"
#include "frontend/refusals.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace json = boost::json;

/// At most this many bytes of text a token can stand for on average; longer texts are not worth tokenising.
constexpr size_t kMaxBytesPerToken = 256;

/// The text's tokens; refused before the work when it cannot fit into the context anyhow.
RequestResult<std::vector<TokenId>> encode(std::string_view text, bool add_special, std::string_view name,
                                           const ModelInfo& model) {
  const size_t most = static_cast<size_t>(model.max_model_len) * kMaxBytesPerToken;
  if (text.size() > most)
    return bad_request(name,
                       fmt::format("This model's maximum context length is {} tokens. However, your prompt has {} "
                                   "bytes of text. Please reduce the length of the prompt.",
                                   model.max_model_len, text.size()),
                       "context_length_exceeded");
  try {
    return model.tokenizer->encode(text, {.parse_special = true, .add_special = add_special});
  } catch (const Error& fault) {
    return bad_request(name, fmt::format("{} cannot be tokenised: {}", name, fault.what()));
  }
}

/// Of each word its spellings at the beginning of a text and behind a space.
std::optional<RequestError> spell_bad_words(GenerationParams& params, const ModelInfo& model) {
  for (const std::string& word : params.bad_words) {
    for (const std::string& text : {word, " " + word}) {
      auto tokens = encode(text, false, "bad_words", model);
      if (tokens.has_error()) return tokens.error();
      auto& spellings = params.sampling.bad_words;
      if (std::find(spellings.begin(), spellings.end(), *tokens) == spellings.end())
        spellings.push_back(std::move(*tokens));
    }
  }
  return std::nullopt;
}

/// How many tokens of a prompt are kept at most; nothing: all.
std::optional<int64_t> num_kept(const GenerationParams& params, int default_max_tokens, const ModelInfo& model,
                                size_t num_tokens) {
  if (!params.truncate_prompt_tokens) {
    const bool cuts = params.long_input == LongInput::truncate || params.long_input == LongInput::sliding;
    if (!cuts || !is_too_long(num_tokens, params, model)) return std::nullopt;
    return prompt_room(params, default_max_tokens, model);
  }
  const int64_t output = params.max_tokens.value_or(std::max(default_max_tokens, 1));
  return *params.truncate_prompt_tokens > 0 ? *params.truncate_prompt_tokens
                                            : std::max<int64_t>(1, model.max_model_len - output);
}

/// Keeps the end of a prompt, and a BOS that was added to it, where the client asks for that.
void truncate(const GenerationParams& params, int default_max_tokens, const ModelInfo& model, AnswerPrompt& prompt) {
  const auto size = static_cast<int64_t>(prompt.tokens.size());
  const int64_t keep = num_kept(params, default_max_tokens, model, prompt.tokens.size()).value_or(size);
  if (size <= keep) return;
  const auto added = std::min(static_cast<int64_t>(prompt.num_added), keep - 1);
  prompt.tokens.erase(prompt.tokens.begin() + added, prompt.tokens.end() - (keep - added));
  prompt.num_added = static_cast<size_t>(added);
  if (!prompt.text.empty())
    prompt.text = model.tokenizer->decode(std::span(prompt.tokens).subspan(prompt.num_added), {.skip_special = false});
}

/// The checks after tokenising, and the seed.
std::optional<RequestError> complete(GenerationParams& params, std::vector<AnswerPrompt>& prompts,
                                     std::string_view prompt_name, int default_max_tokens, const ModelInfo& model) {
  for (AnswerPrompt& prompt : prompts) truncate(params, default_max_tokens, model, prompt);
  if (auto error = spell_bad_words(params, model)) return error;
  size_t longest = 0;
  for (const auto& prompt : prompts) {
    if (prompt.tokens.empty()) return bad_request(prompt_name, "the prompt has no tokens; at least one is needed");
    longest = std::max(longest, prompt.tokens.size());
  }
  if (auto error = fit_to_context(params, longest, model.max_model_len, prompt_name, default_max_tokens)) return error;
  if (params.long_input == LongInput::sliding) {
    if (params.format)
      return bad_request(params.format_parameter,
                         fmt::format("{} is not supported with long_input: sliding", params.format_parameter),
                         "unsupported_parameter");
    params.min_tokens = params.sampling.min_tokens;
    params.sampling.min_tokens = std::min(params.min_tokens, params.sampling.max_tokens);
  }
  if (!params.seed) params.seed = model.default_seed ? static_cast<int64_t>(*model.default_seed) : random_seed();
  params.sampling.seed = static_cast<uint64_t>(*params.seed);
  return validate(params.sampling, model.vocab_size);
}

/// 1 when encode put a BOS before the text that the text does not spell itself.
size_t count_added(std::string_view text, const std::vector<TokenId>& tokens, const Tokenizer& tokenizer) {
  const auto bos = tokenizer.bos_id();
  if (!bos || tokens.empty() || tokens.front() != *bos) return 0;
  return text.starts_with(tokenizer.spelling(*bos)) ? 0 : 1;
}

/// With `keeps_text` it has the text, too, for echo.
RequestResult<AnswerPrompt> make_prompt(PromptInput input, bool add_special_tokens, bool keeps_text,
                                        std::string_view name, const ModelInfo& model) {
  AnswerPrompt prompt;
  if (auto* text = std::get_if<std::string>(&input)) {
    auto tokens = encode(*text, add_special_tokens, name, model);
    if (tokens.has_error()) return tokens.error();
    prompt.tokens = std::move(*tokens);
    prompt.num_added = count_added(*text, prompt.tokens, *model.tokenizer);
    if (keeps_text) prompt.text = std::move(*text);
  } else {
    prompt.tokens = std::move(std::get<std::vector<TokenId>>(input));
    if (keeps_text) prompt.text = model.tokenizer->decode(prompt.tokens, {.skip_special = false});
  }
  return prompt;
}

/// How the model writes calls; null: not known.
const CallSyntax* call_syntax_of(const ModelInfo& model) {
  if (model.tool_call_parser == "none") return nullptr;
  return model.tool_call_parser == "auto" ? call_syntax_of(*model.chat_template) : call_syntax(model.tool_call_parser);
}

/// What the answer may consist of, and what it has to be a text of for that.
std::optional<RequestError> set_parts(const Conversation& conversation, std::string_view prompt, const ModelInfo& model,
                                      GenerationParams& params) {
  AnswerParts parts;
  const ToolSet& tools = conversation.tools;
  if (has_reasoning(model)) {
    parts.reasoning.emplace();
    const size_t last = prompt.find_last_not_of(" \t\r\n");
    parts.reasoning->is_open = prompt.substr(0, last + 1).ends_with(parts.reasoning->begin);
  }
  if (!tools.tools.empty()) {
    parts.calls = call_syntax_of(model);
    if (parts.calls == nullptr)
      return bad_request("tools",
                         model.tool_call_parser == "none"
                             ? "tools are switched off on this server (--tool-call-parser none)"
                             : "it is not known how this model calls tools: its chat template writes calls in another "
                               "way than those of --tool-call-parser",
                         "unsupported_parameter");
    parts.tools = tools.tools;
    parts.only_calls = tools.choice == ToolChoice::required;
    parts.only_one_call = !tools.parallel;
    if (params.format_parameter.empty()) params.format_parameter = "tools";
  }
  if (!parts.has_parts()) return std::nullopt;
  params.format = answer_grammar(parts, params.format);
  params.parts = std::make_shared<const AnswerParts>(std::move(parts));
  return std::nullopt;
}

/// The prompt, or its parts where it is too long and the request has it split: split(room) -> the parts.
template <typename Split>
std::optional<RequestError> add_prompt(AnswerPrompt prompt, Split split, int default_max_tokens, const ModelInfo& model,
                                       AnswerSetup& setup) {
  const GenerationParams& params = setup.params;
  const size_t whole = setup.whole_of.empty() ? 0 : setup.whole_of.back() + 1;
  const auto add = [&](AnswerPrompt one) {
    setup.prompts.push_back(std::move(one));
    setup.whole_of.push_back(whole);
  };
  if (params.long_input != LongInput::split || !is_too_long(prompt.tokens.size(), params, model)) {
    add(std::move(prompt));
    return std::nullopt;
  }
  if (auto error = check_joinable(params, setup.echo)) return error;
  const auto room = static_cast<size_t>(prompt_room(params, default_max_tokens, model));
  if (room <= prompt.num_added) return bad_request(params.max_tokens_name, "the context has no room beside the answer");
  auto parts = split(room);
  if (parts.has_error()) return parts.error();
  if ((setup.prompts.size() + parts->size()) * static_cast<size_t>(params.num_choices) > kMaxPromptsTimesChoices)
    return bad_request("long_input",
                       fmt::format("the prompt has more than {} parts (times n)", kMaxPromptsTimesChoices),
                       "context_length_exceeded");
  for (AnswerPrompt& part : *parts) add(std::move(part));
  return std::nullopt;
}

}  // namespace

bool has_reasoning(const ModelInfo& model) {
  if (model.chat_template == nullptr || model.reasoning_parser == "none") return false;
  return model.reasoning_parser != "auto" || has_reasoning(*model.chat_template);
}

RequestResult<std::string> render_conversation(const Conversation& conversation, const ModelInfo& model) {
  if (model.chat_template == nullptr)
    return bad_request(conversation.parameter, "this model has no chat template; use /v1/completions",
                       "no_chat_template");
  ChatInput input;
  const ToolSet& tools = conversation.tools;
  const bool has_tools = !tools.told.empty() || mentions_tools(conversation.messages);
  const bool knows_none = has_tools && !model.chat_template->mentions("tools");
  const CallSyntax* syntax = knows_none ? call_syntax_of(model) : nullptr;
  if (syntax != nullptr) {
    input.messages = with_tools_as_text(conversation.messages, tools.told, *syntax);
  } else {
    input.messages = conversation.messages;
    if (!tools.told.empty()) input.tools = tools.told;
  }
  input.add_generation_prompt = conversation.add_generation_prompt;
  input.bos_token = model.bos_text;
  input.eos_token = model.eos_text;
  input.variables = conversation.template_variables;
  try {
    std::string text = std::move(model.chat_template->render(input)).value();
    if (!conversation.continue_final_message) return text;
    return cut_after_final_message(std::move(text), conversation);
  } catch (const Error& fault) {
    return bad_request(conversation.parameter, fmt::format("this conversation cannot be rendered: {}", fault.what()),
                       "chat_template");
  }
}

RequestResult<AnswerSetup> prepare_chat(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parse_chat_request(*object, *model);
  if (request.has_error()) return request.error();
  return prepare_conversation(std::move(request->params), request->conversation, std::move(model));
}

RequestResult<std::vector<TokenId>> conversation_tokens(const Conversation& conversation, const ModelInfo& model) {
  const auto text = render_conversation(conversation, model);
  if (text.has_error()) return text.error();
  return encode(*text, false, conversation.parameter, model);
}

RequestResult<AnswerSetup> prepare_conversation(GenerationParams params, const Conversation& conversation,
                                                std::shared_ptr<const ModelInfo> model) {
  const auto text = render_conversation(conversation, *model);
  if (text.has_error()) return text.error();
  auto tokens = encode(*text, false, conversation.parameter, *model);
  if (tokens.has_error()) return tokens.error();
  AnswerSetup setup;
  setup.shape = Choice::Shape::chat;
  setup.params = std::move(params);
  if (const auto error = set_parts(conversation, *text, *model, setup.params)) return *error;
  AnswerPrompt prompt{.tokens = std::move(*tokens), .text = {}, .num_added = 0};
  const auto split = [&](size_t room) {
    const auto tokens_of = [&](const Conversation& part) { return conversation_tokens(part, *model); };
    return split_conversation(conversation, room, tokens_of);
  };
  if (auto error = add_prompt(std::move(prompt), split, 0, *model, setup)) return *error;
  if (auto error = complete(setup.params, setup.prompts, conversation.parameter, 0, *model)) return *error;
  setup.model = std::move(model);
  return setup;
}

RequestResult<AnswerSetup> prepare_completion(std::string_view body, std::shared_ptr<const ModelInfo> model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parse_completion_request(*object, *model);
  if (request.has_error()) return request.error();

  AnswerSetup setup;
  setup.shape = Choice::Shape::completion;
  setup.params = std::move(request->params);
  setup.echo = request->echo;
  setup.echo_only = request->echo_only;
  for (PromptInput& input : request->prompts) {
    auto prompt = make_prompt(std::move(input), request->add_special_tokens, setup.echo, "prompt", *model);
    if (prompt.has_error()) return prompt.error();
    const auto split = [&](size_t room) {
      return RequestResult<std::vector<AnswerPrompt>>(split_prompt(*prompt, room));
    };
    if (auto error = add_prompt(*prompt, split, kDefaultMaxTokens, *model, setup)) return *error;
  }
  if (auto error = complete(setup.params, setup.prompts, "prompt", kDefaultMaxTokens, *model)) return *error;
  setup.model = std::move(model);
  return setup;
}

RequestResult<AnswerSetup> prepare_pooled(GenerationParams params, std::vector<PromptInput> inputs,
                                          bool add_special_tokens, std::string_view name,
                                          std::shared_ptr<const ModelInfo> model) {
  AnswerSetup setup;
  setup.shape = Choice::Shape::completion;
  setup.params = std::move(params);
  for (PromptInput& input : inputs) {
    auto prompt = make_prompt(std::move(input), add_special_tokens, false, name, *model);
    if (prompt.has_error()) return prompt.error();
    truncate(setup.params, 0, *model, *prompt);
    if (prompt->tokens.empty()) return bad_request(name, fmt::format("{} has a text without tokens", name));
    if (prompt->tokens.size() > static_cast<size_t>(model->max_model_len))
      return bad_request(name,
                         fmt::format("This model's maximum context length is {} tokens. However, your prompt has {} "
                                     "tokens. Please reduce the length of the prompt.",
                                     model->max_model_len, prompt->tokens.size()),
                         "context_length_exceeded");
    setup.prompts.push_back(std::move(*prompt));
  }
  setup.model = std::move(model);
  return setup;
}

RequestResult<json::object> answer_apply_template(std::string_view body, const ModelInfo& model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  const auto conversation = parsed<Conversation>(*object, model, &read_template_request);
  if (conversation.has_error()) return conversation.error();
  auto text = render_conversation(*conversation, model);
  if (text.has_error()) return text.error();
  return json::object{{"prompt", std::move(*text)}};
}

RequestResult<json::object> answer_tokenize(std::string_view body, const ModelInfo& model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  auto request = parse_tokenize_request(*object, model);
  if (request.has_error()) return request.error();
  std::string text = std::move(request->prompt);
  if (request->conversation) {
    auto rendered = render_conversation(*request->conversation, model);
    if (rendered.has_error()) return rendered.error();
    text = std::move(*rendered);
  }
  const auto tokens = encode(text, request->add_special_tokens, request->conversation ? "messages" : "prompt", model);
  if (tokens.has_error()) return tokens.error();
  return tokenize_body(*tokens, request->return_token_strings, model);
}

RequestResult<json::object> answer_detokenize(std::string_view body, const ModelInfo& model) {
  const auto object = parse_json_object(body);
  if (object.has_error()) return object.error();
  const auto request = parse_detokenize_request(*object, model);
  if (request.has_error()) return request.error();
  return json::object{{"prompt", model.tokenizer->decode(request->tokens, {.skip_special = false})}};
}

}  // namespace echelon
