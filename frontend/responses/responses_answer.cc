// response.created, .in_progress | .output_item.added, .content_part.added, .output_text.delta ..., .output_text.done,
// .content_part.done, .output_item.done | .completed, .incomplete or .failed
#include "frontend/responses/responses_answer.h"

#include <boost/json/serialize.hpp>
#include <utility>

#include "kernels/base/check.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr std::string_view kInProgress = "in_progress", kCompleted = "completed", kIncomplete = "incomplete",
                           kFailed = "failed";

json::array logprobs_of(const ChoicePiece& piece) {
  if (piece.logprobs.is_null()) return {};
  return piece.logprobs.at("content").as_array();
}

json::object output_text(const ChoicePiece& piece) {
  return {
      {"type", "output_text"}, {"text", piece.text}, {"annotations", json::array{}}, {"logprobs", logprobs_of(piece)}};
}

/// Of OpenAI's list of codes.
json::object error_of(const RequestError& error) {
  return {{"code", error.http_status == 429 ? "rate_limit_exceeded" : "server_error"}, {"message", error.message}};
}

}  // namespace

std::string ResponsesAnswer::event(std::string_view type, json::object members) {
  json::object data{{"type", type}, {"sequence_number", num_events_++}};
  for (auto& member : members) data.emplace(member.key(), std::move(member.value()));
  return "event: " + std::string(type) + "\n" + server_sent_event(data);
}

std::string ResponsesAnswer::part_event(std::string_view type, json::object members) {
  members["item_id"] = message_id();
  members["output_index"] = 0;
  members["content_index"] = 0;
  return event(type, std::move(members));
}

std::string ResponsesAnswer::message_id() const {
  const std::string& id = setup().id;
  return "msg_" + (id.starts_with(kResponseIdPrefix) ? id.substr(kResponseIdPrefix.size()) : id);
}

json::object ResponsesAnswer::message(std::string_view status, json::array content) const {
  return {{"id", message_id()},
          {"type", "message"},
          {"status", status},
          {"role", "assistant"},
          {"content", std::move(content)}};
}

json::object ResponsesAnswer::usage() const {
  const Counts tokens = counts();
  return {{"input_tokens", tokens.prompt},
          {"input_tokens_details", json::object{{"cached_tokens", tokens.cached}, {"cache_write_tokens", 0}}},
          {"output_tokens", tokens.output},
          {"output_tokens_details", json::object{{"reasoning_tokens", 0}}},
          {"total_tokens", tokens.prompt + tokens.output}};
}

json::object ResponsesAnswer::response(std::string_view status, const RequestError* error) {
  const ChoicePiece& whole = choice(0).whole;
  const bool running = status == kInProgress;
  json::object object;
  object["id"] = setup().id;
  object["object"] = "response";
  object["created_at"] = setup().created_unix_s;
  object["status"] = status;
  object["error"] = error == nullptr ? json::value() : json::value(error_of(*error));
  object["incomplete_details"] = nullptr;
  if (status == kIncomplete) object["incomplete_details"] = json::object{{"reason", "max_output_tokens"}};
  object["model"] = setup().model->name;
  json::array& output = object["output"].emplace_array();
  const bool has_message = whole.finish || choice(0).sent;
  if (has_message) output.push_back(message(status == kFailed ? kIncomplete : status, {output_text(whole)}));
  object["usage"] = running ? json::value() : json::value(usage());
  object["seed"] = static_cast<int64_t>(params().sampling.seed);
  for (const auto& member : setup().repeated) object.emplace(member.key(), member.value());
  return object;
}

std::string_view ResponsesAnswer::end_status() {
  return choice(0).whole.finish == FinishReason::length ? kIncomplete : kCompleted;
}

std::string ResponsesAnswer::opening_events() {
  const json::object begun = response(kInProgress, nullptr);
  std::string events = event("response.created", {{"response", begun}});
  events += event("response.in_progress", {{"response", begun}});
  return events;
}

std::string ResponsesAnswer::piece_events(size_t index, ChoicePiece piece) {
  std::string events;
  if (!std::exchange(choice(index).sent, true)) {
    events += event("response.output_item.added", {{"output_index", 0}, {"item", message(kInProgress, {})}});
    events += part_event("response.content_part.added", {{"part", output_text({})}});
  }
  if (!piece.text.empty() || !piece.logprobs.is_null()) {
    events += part_event("response.output_text.delta", {{"delta", piece.text}, {"logprobs", logprobs_of(piece)}});
  }
  ChoicePiece& whole = choice(index).whole;
  whole.append(std::move(piece));
  if (!whole.finish) return events;
  const json::object part = output_text(whole);
  events += part_event("response.output_text.done", {{"text", part.at("text")}, {"logprobs", part.at("logprobs")}});
  events += part_event("response.content_part.done", {{"part", part}});
  events += event("response.output_item.done", {{"output_index", 0}, {"item", message(end_status(), {part})}});
  return events;
}

std::string ResponsesAnswer::closing_events() {
  const std::string_view status = end_status();
  return event("response." + std::string(status), {{"response", response(status, nullptr)}});
}

std::string ResponsesAnswer::error_events(const RequestError& error) {
  return event("response.failed", {{"response", response(kFailed, &error)}});
}

json::object ResponsesAnswer::body() {
  ECHELON_CHECK(done());
  return response(end_status(), nullptr);
}

}  // namespace echelon
