// Chunks and bodies of chats and completions. One chunk per token that completes text; the role is in a choice's first
// chunk, finish_reason in its last.
#include "frontend/openai/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <numeric>

#include "frontend/openai/bodies.h"
#include "frontend/openai/json_string.h"
#include "kernels/base/check.h"

namespace echelon {

namespace json = boost::json;

namespace {

/// What is new of calls. The first delta of one has its id and its name.
json::array call_deltas(std::vector<ToolCallDelta> calls) {
  json::array deltas;
  for (ToolCallDelta& call : calls) {
    json::object delta{{"index", call.index}};
    json::object function;
    if (!call.name.empty()) {
      delta["id"] = std::move(call.id);
      delta["type"] = "function";
      function["name"] = std::move(call.name);
    }
    function["arguments"] = std::move(call.arguments);
    delta["function"] = std::move(function);
    deltas.push_back(std::move(delta));
  }
  return deltas;
}

std::string_view finish_name(const ChoicePiece& piece, const Choice& choice) {
  const FinishReason reason = piece.finish.value_or(FinishReason::error);
  return reason == FinishReason::stop && choice.has_calls() ? "tool_calls" : finish_name(reason);
}

}  // namespace

std::string call_id(std::string_view prefix, size_t num_digits, std::string_view answer_id, size_t choice, int call) {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id(prefix);
  const std::string seed = fmt::format("{}/{}/{}", answer_id, choice, call);
  for (size_t i = 0; i < num_digits; ++i) {
    uint64_t hash = 0xcbf29ce484222325u + i * 0x9e3779b97f4a7c15u;  // FNV-1a, from another start for every digit
    for (const char c : seed) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
    id += kDigits[(hash ^ hash >> 32) % kDigits.size()];
  }
  return id;
}

std::string server_sent_event(const json::object& data) { return "data: " + json::serialize(data) + "\n\n"; }

std::string_view finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::abort:
      return "abort";
    case FinishReason::error:
      return "error";
    case FinishReason::timeout:
      return "timeout";
  }
  return "error";
}

Answer::Answer(AnswerSetup setup) : setup_(std::move(setup)), prompts_(setup_.prompts.size()) {
  for (size_t prompt = 0; prompt < setup_.prompts.size(); ++prompt) {
    if (prompt > 0 && whole_of(prompt) == whole_of(prompt - 1)) continue;
    for (int i = 0; i < setup_.params.num_choices; ++i) {
      ChoiceState& state = choices_.emplace_back();
      state.choice = make_choice();
      state.part = prompt;
      if (setup_.params.long_input == LongInput::sliding) state.window = setup_.prompts[prompt].tokens;
    }
  }
  num_open_ = choices_.size();
}

std::unique_ptr<Choice> Answer::make_choice() const {
  return std::make_unique<Choice>(setup_.shape, setup_.params, *setup_.model->tokenizer);
}

void Answer::fail(RequestError error) {
  error_ = error.message;
  refusal_ = std::move(error);
}

Answer::Effects Answer::add(size_t prompt, OutputEvent event) {
  ECHELON_CHECK(prompt < prompts_.size() && event.choice >= 0 && event.choice < setup_.params.num_choices);
  Effects effects;
  if (error_) return effects;
  if (event.finish == FinishReason::error) {
    error_ = event.error.empty() ? "the engine gave no reason" : event.error;
    refusal_ = std::move(event.refusal);
    return effects;
  }
  if (event.finish == FinishReason::timeout && event.refusal) {
    error_ = event.refusal->message;
    refusal_ = std::move(event.refusal);
    return effects;
  }
  PromptState& state = prompts_[prompt];
  state.num_cached_tokens = std::max(state.num_cached_tokens, event.num_cached_tokens);
  const bool needs_logprobs = setup_.echo && setup_.params.sampling.num_prompt_logprobs >= 0;
  if (needs_logprobs && !state.logprobs_ready && event.choice != 0) {
    state.waiting.push_back(std::move(event));
    return effects;
  }
  if (!state.logprobs_ready && event.choice == 0) {
    state.logprobs_ready = true;
    state.logprobs = std::move(event.prompt_logprobs);
  }
  add_to_choice(prompt, event, effects);
  for (const OutputEvent& late : std::exchange(state.waiting, {})) add_to_choice(prompt, late, effects);
  return effects;
}

void Answer::begin_choice(size_t prompt, ChoiceState& state) {
  state.begun = true;
  const AnswerPrompt& source = setup_.prompts[prompt];
  if (setup_.echo) state.choice->echo(source.text, source.tokens, prompts_[prompt].logprobs, source.num_added);
}

void Answer::add_to_choice(size_t prompt, const OutputEvent& event, Effects& effects) {
  const size_t index =
      whole_of(prompt) * static_cast<size_t>(setup_.params.num_choices) + static_cast<size_t>(event.choice);
  ChoiceState& state = choices_[index];
  if (prompt > state.part) {
    state.later.emplace_back(prompt, event);
    return;
  }
  Choice& choice = *state.choice;
  if (choice.finished() || prompt < state.part) return;
  if (!state.begun) begin_choice(prompt, state);
  size_t num_shown = event.tokens.size();
  const bool hides_last = event.finish == FinishReason::stop && event.stop_token && num_shown > 0 &&
                          event.tokens.back().token == *event.stop_token;
  if (hides_last) --num_shown;
  if (setup_.echo_only) num_shown = 0;
  for (size_t i = 0; i < num_shown; ++i) {
    if (choice.add(event.tokens[i]) == Choice::Step::stop_string_found) {
      if (!event.finish) effects.stop_choices.push_back({.prompt = prompt, .choice = event.choice});
      break;
    }
    const bool more_to_come = event.finish && i + 1 == num_shown;  // the last piece carries the finish reason
    if (choice.has_output() && !more_to_come) emit(index, choice.take(), effects);
  }
  if (!choice.finished() && slide(index, event, effects)) {
    if (choice.has_output()) emit(index, choice.take(), effects);
    return;
  }
  if (!choice.finished() && event.finish) {
    if (hides_last && !setup_.echo_only) choice.add_hidden(event.tokens.back());
    choice.finish(setup_.echo_only ? FinishReason::length : *event.finish, event.stop_token);
  }
  if (!choice.finished() || begin_next_part(index, effects)) return;
  --num_open_;
  emit(index, choice.take(), effects);
}

void Answer::emit(size_t index, ChoicePiece piece, Effects& effects) {
  for (ToolCallDelta& call : piece.calls) {
    const CallSyntax& syntax = *setup_.params.parts->calls;
    const std::string_view prefix = syntax.has_id_prefix ? call_id_prefix() : "";
    if (!call.name.empty()) call.id = call_id(prefix, syntax.id_digits, setup_.id, index, call.index);
  }
  if (setup_.params.stream) {
    effects.events += piece_events(index, std::move(piece));
    effects.pieces.push_back({.choice = index, .end = effects.events.size()});
  } else {
    choices_[index].whole.append(std::move(piece));
  }
}

std::string Answer::piece_events(size_t index, ChoicePiece piece) {
  if (is_plain(index, piece)) return plain_event(index, piece.text);
  return server_sent_event(chunk(index, std::move(piece)));
}

bool Answer::is_plain(size_t index, const ChoicePiece& piece) const {
  const bool only_text = piece.reasoning.empty() && piece.calls.empty() && piece.logprobs.is_null() && !piece.finish;
  return only_text && !piece.text.empty() && choices_[index].sent && !setup_.params.return_token_ids &&
         !setup_.params.continuous_usage;
}

/// The bytes of chunk(): what stands around a text is cut out of one with another text.
std::string Answer::plain_event(size_t index, std::string_view text) {
  ChoiceState& state = choices_[index];
  if (state.before_text.empty()) {
    constexpr std::string_view kText = "\x01", kWritten = "\\u0001\"";
    ChoicePiece piece;
    piece.text = kText;
    const std::string event = server_sent_event(chunk(index, std::move(piece)));
    const size_t at = event.rfind(kWritten);
    ECHELON_CHECK(at != event.npos);
    state.before_text = event.substr(0, at);
    state.after_text = event.substr(at + kWritten.size() - 1);
  }
  std::string event;
  event.reserve(state.before_text.size() + text.size() + state.after_text.size());
  event += state.before_text;
  append_json_string(event, text);
  return event += state.after_text;
}

json::object Answer::frame(std::string_view object_name) const {
  json::object object;
  object["id"] = setup_.id;
  object["object"] = object_name;
  object["created"] = setup_.created_unix_s;
  object["model"] = setup_.model->name;
  object["system_fingerprint"] = setup_.model->fingerprint;
  return object;
}

Answer::Counts Answer::counts() const {
  Counts counts = ended_parts_;
  for (const auto& prompt : setup_.prompts) counts.prompt += static_cast<int64_t>(prompt.tokens.size());
  for (const auto& prompt : prompts_) counts.cached += prompt.num_cached_tokens;
  for (const auto& state : choices_) {
    counts.output += state.choice->num_tokens();
    counts.reasoning += state.choice->num_reasoning_tokens();
  }
  return counts;
}

json::object Answer::usage() const {
  const Counts tokens = counts();
  json::object object;
  object["prompt_tokens"] = tokens.prompt;
  object["completion_tokens"] = tokens.output;
  object["total_tokens"] = tokens.prompt + tokens.output;
  object["prompt_tokens_details"] = json::object{{"cached_tokens", tokens.cached}};
  const auto& parts = setup_.params.parts;
  if (parts != nullptr && parts->reasoning)
    object["completion_tokens_details"] = json::object{{"reasoning_tokens", tokens.reasoning}};
  return object;
}

json::array Answer::prompt_token_ids(size_t prompt) const {
  const auto& tokens = setup_.prompts[prompt].tokens;
  return json::array(tokens.begin(), tokens.end());
}

json::array Answer::prompt_logprobs(size_t prompt) const {
  return prompt_logprobs_array(prompts_[prompt].logprobs, static_cast<int>(*setup_.params.prompt_logprobs),
                               *setup_.model->tokenizer);
}

json::object Answer::chunk(size_t index, ChoicePiece piece) {
  const bool is_chat = setup_.shape == Choice::Shape::chat;
  const GenerationParams& params = setup_.params;
  const bool first = !std::exchange(choices_[index].sent, true);
  const size_t prompt = index / static_cast<size_t>(params.num_choices);

  json::object choice;
  choice["index"] = index;
  if (is_chat) {
    json::object delta;
    if (first) delta["role"] = "assistant";
    const bool only_calls = piece.text.empty() && !piece.calls.empty();
    if (!piece.text.empty() || (first && !only_calls)) delta["content"] = std::move(piece.text);
    if (first && only_calls) delta["content"] = nullptr;
    if (!piece.reasoning.empty()) delta["reasoning_content"] = std::move(piece.reasoning);
    if (!piece.calls.empty()) delta["tool_calls"] = call_deltas(std::move(piece.calls));
    choice["delta"] = std::move(delta);
  } else {
    choice["text"] = std::move(piece.text);
  }
  choice["logprobs"] = std::move(piece.logprobs);
  choice["finish_reason"] = piece.finish ? json::value(finish_name(piece, *choices_[index].choice)) : json::value();
  if (piece.finish) choice["stop_reason"] = std::move(piece.stop_reason);
  if (params.return_token_ids) {
    choice["token_ids"] = std::move(piece.token_ids);
    if (first && !is_chat) choice["prompt_token_ids"] = prompt_token_ids(prompt);
  }

  json::object object = frame(is_chat ? "chat.completion.chunk" : "text_completion");
  object["choices"] = json::array{std::move(choice)};
  if (params.return_token_ids && first && is_chat) object["prompt_token_ids"] = prompt_token_ids(prompt);
  if (piece.finish) object["seed"] = static_cast<int64_t>(params.sampling.seed);
  if (params.continuous_usage) {
    object["usage"] = usage();
  } else if (params.include_usage) {
    object["usage"] = nullptr;
  }
  return object;
}

std::string Answer::closing_events() {
  std::string events;
  if (setup_.params.include_usage) {
    json::object object = frame(setup_.shape == Choice::Shape::chat ? "chat.completion.chunk" : "text_completion");
    object["choices"] = json::array{};
    object["seed"] = static_cast<int64_t>(setup_.params.sampling.seed);
    object["usage"] = usage();
    events += server_sent_event(object);
  }
  return events + "data: [DONE]\n\n";
}

std::string Answer::error_events(const RequestError& error) {
  return server_sent_event(error_body(error)) + "data: [DONE]\n\n";
}

json::object Answer::message(ChoicePiece& piece) const {
  json::object message{{"role", "assistant"}, {"content", nullptr}, {"refusal", nullptr}};
  if (!piece.text.empty() || piece.calls.empty()) message["content"] = std::move(piece.text);
  if (!piece.reasoning.empty()) message["reasoning_content"] = std::move(piece.reasoning);
  if (piece.calls.empty()) return message;
  json::array& calls = message["tool_calls"].emplace_array();
  for (ToolCallDelta& call : piece.calls) {
    calls.push_back(json::object{
        {"id", std::move(call.id)},
        {"type", "function"},
        {"function", json::object{{"name", std::move(call.name)}, {"arguments", std::move(call.arguments)}}}});
  }
  return message;
}

/// All, or of each prompt the likeliest, best first.
std::vector<size_t> Answer::returned_choices() const {
  std::vector<size_t> indices(choices_.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  const GenerationParams& params = setup_.params;
  if (params.num_returned == 0) return indices;
  std::vector<size_t> returned;
  for (auto first = indices.begin(); first != indices.end(); first += params.num_choices) {
    std::stable_sort(first, first + params.num_choices, [&](size_t a, size_t b) {
      return choices_[a].choice->mean_logprob() > choices_[b].choice->mean_logprob();
    });
    returned.insert(returned.end(), first, first + params.num_returned);
  }
  return returned;
}

json::object Answer::body() {
  ECHELON_CHECK(num_open_ == 0);
  const bool is_chat = setup_.shape == Choice::Shape::chat;
  const GenerationParams& params = setup_.params;
  json::object object = frame(is_chat ? "chat.completion" : "text_completion");
  object["seed"] = static_cast<int64_t>(params.sampling.seed);
  json::array& choices = object["choices"].emplace_array();
  for (const size_t index : returned_choices()) {
    ChoicePiece& piece = choices_[index].whole;
    json::object choice;
    choice["index"] = choices.size();
    if (is_chat) {
      choice["message"] = message(piece);
    } else {
      choice["text"] = std::move(piece.text);
    }
    choice["logprobs"] = std::move(piece.logprobs);
    choice["finish_reason"] = finish_name(piece, *choices_[index].choice);
    choice["stop_reason"] = std::move(piece.stop_reason);
    if (params.prompt_logprobs && !is_chat)
      choice["prompt_logprobs"] = prompt_logprobs(index / static_cast<size_t>(params.num_choices));
    if (params.return_token_ids) {
      choice["token_ids"] = std::move(piece.token_ids);
      if (!is_chat) choice["prompt_token_ids"] = prompt_token_ids(index / static_cast<size_t>(params.num_choices));
    }
    choices.push_back(std::move(choice));
  }
  if (params.return_token_ids && is_chat) object["prompt_token_ids"] = prompt_token_ids(0);
  if (params.prompt_logprobs && is_chat) object["prompt_logprobs"] = prompt_logprobs(0);
  object["usage"] = usage();
  return object;
}

}  // namespace echelon
