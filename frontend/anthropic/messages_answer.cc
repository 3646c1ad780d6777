// message_start, for every block content_block_start, content_block_delta ..., content_block_stop, then message_delta
// and message_stop.
#include "frontend/anthropic/messages_answer.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "frontend/anthropic/messages_request.h"
#include "kernels/base/check.h"

namespace echelon {
namespace {

namespace json = boost::json;

std::string event(const json::object& data) {
  return "event: " + std::string(data.at("type").as_string()) + "\ndata: " + json::serialize(data) + "\n\n";
}

/// Writes "stop_reason" and "stop_sequence".
void put_end(const ChoicePiece* end, bool has_calls, json::object& out) {
  out["stop_reason"] = nullptr;
  out["stop_sequence"] = nullptr;
  if (end == nullptr) return;
  const bool at_sequence = end->stop_reason.is_string();
  out["stop_reason"] = at_sequence                           ? "stop_sequence"
                       : end->finish == FinishReason::length ? "max_tokens"
                       : has_calls                           ? "tool_use"
                                                             : "end_turn";
  if (at_sequence) out["stop_sequence"] = end->stop_reason;
}

}  // namespace

json::object MessagesAnswer::message(json::array content, const ChoicePiece* end) const {
  const Counts tokens = counts();
  json::object object;
  object["id"] = setup().id;
  object["type"] = "message";
  object["role"] = "assistant";
  object["model"] = setup().model->name;
  object["content"] = std::move(content);
  put_end(end, end != nullptr && !end->calls.empty(), object);
  object["usage"] = json::object{{"input_tokens", tokens.prompt - tokens.cached},
                                 {"cache_creation_input_tokens", 0},
                                 {"cache_read_input_tokens", tokens.cached},
                                 {"output_tokens", tokens.output}};
  return object;
}

std::string MessagesAnswer::begin_block(std::string_view type, json::object block) {
  std::string events = end_block();
  open_block_ = type;
  block["type"] = type;
  return events + event({{"type", "content_block_start"}, {"index", num_blocks_}, {"content_block", std::move(block)}});
}

std::string MessagesAnswer::end_block() {
  if (open_block_.empty()) return {};
  open_block_ = {};
  return event({{"type", "content_block_stop"}, {"index", num_blocks_++}});
}

std::string MessagesAnswer::delta(std::string_view type, std::string_view member, std::string_view text) {
  if (text.empty()) return {};
  return event({{"type", "content_block_delta"},
                {"index", num_blocks_},
                {"delta", json::object{{"type", type}, {member, text}}}});
}

std::string MessagesAnswer::piece_events(size_t index, ChoicePiece piece) {
  std::string events;
  if (!std::exchange(choice(index).sent, true))
    events += event({{"type", "message_start"}, {"message", message({}, nullptr)}});
  if (!piece.reasoning.empty()) {
    if (open_block_ != "thinking") events += begin_block("thinking", {{"thinking", ""}, {"signature", ""}});
    events += delta("thinking_delta", "thinking", piece.reasoning);
  }
  const bool has_nothing = piece.finish && piece.calls.empty() && num_blocks_ == 0 && open_block_.empty();
  if (!piece.text.empty() || has_nothing) {
    if (open_block_ != "text") events += begin_block("text", {{"text", ""}});
    events += delta("text_delta", "text", piece.text);
  }
  for (const ToolCallDelta& call : piece.calls) {
    if (!call.name.empty())
      events += begin_block("tool_use", {{"id", call.id}, {"name", call.name}, {"input", json::object()}});
    events += delta("input_json_delta", "partial_json", call.arguments);
  }
  if (!piece.finish) return events;
  events += end_block();
  json::object end;
  put_end(&piece, choice(index).choice->has_calls(), end);
  events += event({{"type", "message_delta"},
                   {"delta", std::move(end)},
                   {"usage", json::object{{"output_tokens", counts().output}}}});
  return events;
}

std::string MessagesAnswer::closing_events() { return event({{"type", "message_stop"}}); }

std::string MessagesAnswer::error_events(const RequestError& error) { return event(messages_error_body(error)); }

json::object MessagesAnswer::body() {
  ECHELON_CHECK(done());
  const ChoicePiece& whole = choice(0).whole;
  json::array content;
  if (!whole.reasoning.empty())
    content.push_back(json::object{{"type", "thinking"}, {"thinking", whole.reasoning}, {"signature", ""}});
  if (!whole.text.empty() || whole.calls.empty())
    content.push_back(json::object{{"type", "text"}, {"text", whole.text}});
  for (const ToolCallDelta& call : whole.calls) {
    boost::system::error_code cut_off;  // in the middle of the arguments
    json::value input = json::parse(call.arguments, cut_off);
    if (cut_off || !input.is_object()) input.emplace_object();
    content.push_back(
        json::object{{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", std::move(input)}});
  }
  return message(std::move(content), &whole);
}

}  // namespace echelon
