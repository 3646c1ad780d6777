#include "frontend/openai/long_input.h"

#include <fmt/format.h>

#include <algorithm>

#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

/// Where a part of `text` ends that has about `target` bytes: behind a line, a word, or at least a character.
size_t end_of_part(std::string_view text, size_t target, size_t part_bytes) {
  if (target == 0) return 0;
  const size_t least = target - std::min(target, part_bytes / 4);
  for (const char separator : {'\n', ' '}) {
    const size_t at = text.rfind(separator, target - 1);
    if (at != std::string_view::npos && at >= least) return at + 1;
  }
  while (target > 0 && (text[target] & 0xc0) == 0x80) --target;
  return target;
}

std::vector<std::string_view> cut_text(std::string_view text, size_t num_parts) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (size_t i = 1; i <= num_parts; ++i) {
    const size_t target = text.size() * i / num_parts;
    const size_t end = i == num_parts ? text.size() : end_of_part(text, target, text.size() / num_parts);
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = std::max(begin, end);
  }
  return parts;
}

/// The index of the user's longest message.
std::optional<size_t> longest_message(const json::array& messages) {
  std::optional<size_t> longest;
  const auto size = [&](size_t i) { return messages[i].at("content").as_string().size(); };
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].at("role") == "user" && (!longest || size(i) > size(*longest))) longest = i;
  }
  return longest;
}

}  // namespace

bool is_too_long(size_t num_tokens, const GenerationParams& params, const ModelInfo& model) {
  const bool slides = params.long_input == LongInput::sliding;  // then the answer has room of its own
  return static_cast<int64_t>(num_tokens) + (slides ? 1 : params.max_tokens.value_or(1)) > model.max_model_len;
}

int64_t prompt_room(const GenerationParams& params, int default_max_tokens, const ModelInfo& model) {
  const int64_t context = model.max_model_len, quarter = context / 4;
  int64_t output = params.max_tokens.value_or(default_max_tokens > 0 ? default_max_tokens : quarter);
  if (params.long_input == LongInput::sliding) output = std::min(output, quarter);
  return std::max<int64_t>(1, context - output);
}

std::optional<RequestError> check_joinable(const GenerationParams& params, bool echoes) {
  const auto refuse = [](std::string_view name) {
    return bad_request(name, fmt::format("{} is not supported with long_input: split, whose answers are joined", name),
                       "unsupported_parameter");
  };
  if (echoes) return refuse("echo");
  if (params.sampling.num_logprobs >= 0) return refuse(params.num_returned > 0 ? "best_of" : "logprobs");
  if (params.prompt_logprobs) return refuse("prompt_logprobs");
  if (params.return_token_ids) return refuse("return_token_ids");
  if (params.format) return refuse(params.format_parameter);
  return std::nullopt;
}

std::vector<AnswerPrompt> split_prompt(const AnswerPrompt& whole, size_t room) {
  const auto first = whole.tokens.begin() + static_cast<std::ptrdiff_t>(whole.num_added);
  const auto size = static_cast<size_t>(whole.tokens.end() - first), most = room - whole.num_added;
  const size_t num_parts = (size + most - 1) / most;
  std::vector<AnswerPrompt> parts(num_parts);
  for (size_t i = 0; i < num_parts; ++i) {
    AnswerPrompt& part = parts[i];
    part.num_added = whole.num_added;
    part.tokens.assign(whole.tokens.begin(), first);
    part.tokens.insert(part.tokens.end(), first + static_cast<std::ptrdiff_t>(size * i / num_parts),
                       first + static_cast<std::ptrdiff_t>(size * (i + 1) / num_parts));
  }
  return parts;
}

RequestResult<std::vector<AnswerPrompt>> split_conversation(const Conversation& conversation, size_t room,
                                                            const ConversationTokens& tokens_of) {
  const auto index = longest_message(conversation.messages);
  Conversation one = conversation;
  const RequestError no_room =
      bad_request(conversation.parameter,
                  fmt::format("what is around the longest message of the user leaves it no room in {} tokens, so that "
                              "it cannot be split",
                              room),
                  "context_length_exceeded");
  if (!index) return no_room;
  json::value& content = one.messages[*index].at("content");
  const std::string text(content.as_string());
  content = "";
  const auto around = tokens_of(one), all = tokens_of(conversation);
  for (const auto* tokens : {&around, &all}) {
    if (tokens->has_error()) return tokens->error();
  }
  if (around->size() >= room) return no_room;
  // A part's tokens are not a part of the tokens, and parts are not equally dense: more of them, until all fit.
  const size_t size = all->size() - std::min(all->size(), around->size()), most = room - around->size();
  for (size_t num_parts = size / most + 1; num_parts <= kMaxPromptsTimesChoices; ++num_parts) {
    const std::vector<std::string_view> parts = cut_text(text, num_parts);
    std::vector<AnswerPrompt> prompts;
    for (const std::string_view part : parts) {
      content = part;
      auto tokens = tokens_of(one);
      if (tokens.has_error()) return tokens.error();
      if (tokens->size() > room) break;
      prompts.push_back({.tokens = std::move(*tokens), .text = {}, .num_added = 0});
    }
    if (prompts.size() == parts.size()) return prompts;
  }
  return bad_request(conversation.parameter,
                     fmt::format("{} would have more than {} parts", conversation.parameter, kMaxPromptsTimesChoices),
                     "context_length_exceeded");
}

}  // namespace echelon
