// response.created, .in_progress | for every item .output_item.added, its own events, .output_item.done | .completed,
// .incomplete or .failed. Of a message: .content_part.added, .output_text.delta ..., .output_text.done,
// .content_part.done; of reasoning the same with .reasoning_text; of a call: .function_call_arguments.delta ..., .done.
#include "frontend/responses/responses_answer.h"

#include <fmt/format.h>

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

std::string ResponsesAnswer::item_event(std::string_view type, json::object members) {
  members["item_id"] = items_.back().id;
  members["output_index"] = items_.size() - 1;
  return event(type, std::move(members));
}

std::string ResponsesAnswer::part_event(std::string_view type, json::object members) {
  members["content_index"] = 0;
  return item_event(type, std::move(members));
}

std::string ResponsesAnswer::begin_item(OutputItem::Kind kind, const ToolCallDelta* call) {
  const std::string& id = setup().id;
  OutputItem& item = items_.emplace_back();
  item.kind = kind;
  item.id =
      std::string(id_prefix(kind)) + (id.starts_with(kResponseIdPrefix) ? id.substr(kResponseIdPrefix.size()) : id);
  if (call != nullptr) {
    item.id += fmt::format("_{}", call->index);
    item.call_id = call->id;
    item.name = call->name;
  }
  std::string events = event("response.output_item.added",
                             {{"output_index", items_.size() - 1}, {"item", item.json(kInProgress, true)}});
  if (call == nullptr) events += part_event("response.content_part.added", {{"part", item.part(true)}});
  return events;
}

std::string ResponsesAnswer::end_item(std::string_view status) {
  const OutputItem& item = items_.back();
  std::string events;
  if (item.kind == OutputItem::Kind::function_call) {
    events += item_event("response.function_call_arguments.done", {{"name", item.name}, {"arguments", item.text}});
  } else {
    const bool is_message = item.kind == OutputItem::Kind::message;
    json::object done{{"text", item.text}};
    if (is_message) done["logprobs"] = item.logprobs;
    events += part_event(is_message ? "response.output_text.done" : "response.reasoning_text.done", std::move(done));
    events += part_event("response.content_part.done", {{"part", item.part()}});
  }
  return events +
         event("response.output_item.done", {{"output_index", items_.size() - 1}, {"item", item.json(status)}});
}

std::string ResponsesAnswer::grow(OutputItem::Kind kind, const std::string& text, const ToolCallDelta* call,
                                  json::array logprobs) {
  std::string events;
  const bool is_new = call != nullptr ? !call->name.empty() : items_.empty() || items_.back().kind != kind;
  if (is_new) {
    if (!items_.empty()) events += end_item(kCompleted);
    events += begin_item(kind, call);
  }
  OutputItem& item = items_.back();
  item.text += text;
  for (const json::value& entry : logprobs) item.logprobs.push_back(entry);
  if (text.empty() && logprobs.empty()) return events;
  json::object members{{"delta", text}};
  switch (kind) {
    case OutputItem::Kind::reasoning:
      return events + part_event("response.reasoning_text.delta", std::move(members));
    case OutputItem::Kind::function_call:
      return events + item_event("response.function_call_arguments.delta", std::move(members));
    case OutputItem::Kind::message:
      members["logprobs"] = std::move(logprobs);
      return events + part_event("response.output_text.delta", std::move(members));
  }
  return events;
}

std::string ResponsesAnswer::take(const ChoicePiece& piece) {
  using Kind = OutputItem::Kind;
  std::string events;
  if (!piece.reasoning.empty()) events += grow(Kind::reasoning, piece.reasoning, nullptr, {});
  const bool in_message = !items_.empty() && items_.back().kind == Kind::message;
  const bool is_empty = items_.empty() && piece.calls.empty();  // a response without text has an empty message
  if (!piece.text.empty() || (in_message && !piece.logprobs.is_null()) || (piece.finish && is_empty))
    events += grow(Kind::message, piece.text, nullptr, logprobs_of(piece));
  for (const ToolCallDelta& call : piece.calls) events += grow(Kind::function_call, call.arguments, &call, {});
  if (!piece.finish) return events;
  finished_ = piece.finish;
  return events + end_item(end_status());
}

json::object ResponsesAnswer::usage() const {
  const Counts tokens = counts();
  return {{"input_tokens", tokens.prompt},
          {"input_tokens_details", json::object{{"cached_tokens", tokens.cached}, {"cache_write_tokens", 0}}},
          {"output_tokens", tokens.output},
          {"output_tokens_details", json::object{{"reasoning_tokens", tokens.reasoning}}},
          {"total_tokens", tokens.prompt + tokens.output}};
}

json::object ResponsesAnswer::response(std::string_view status, const RequestError* error) {
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
  for (const OutputItem& item : items_) {
    const bool is_last = &item == &items_.back();
    output.push_back(item.json(!is_last ? kCompleted : status == kFailed ? kIncomplete : status));
  }
  object["usage"] = running ? json::value() : json::value(usage());
  object["seed"] = static_cast<int64_t>(params().sampling.seed);
  for (const auto& member : setup().repeated) object.emplace(member.key(), member.value());
  return object;
}

std::string_view ResponsesAnswer::end_status() const {
  return finished_ == FinishReason::length ? kIncomplete : kCompleted;
}

std::string ResponsesAnswer::opening_events() {
  const json::object begun = response(kInProgress, nullptr);
  std::string events = event("response.created", {{"response", begun}});
  events += event("response.in_progress", {{"response", begun}});
  return events;
}

std::string ResponsesAnswer::piece_events(size_t, ChoicePiece piece) { return take(piece); }

std::string ResponsesAnswer::closing_events() {
  const std::string_view status = end_status();
  return event("response." + std::string(status), {{"response", response(status, nullptr)}});
}

std::string ResponsesAnswer::error_events(const RequestError& error) {
  return event("response.failed", {{"response", response(kFailed, &error)}});
}

json::object ResponsesAnswer::body() {
  ECHELON_CHECK(done());
  take(choice(0).whole);
  return response(end_status(), nullptr);
}

}  // namespace echelon
