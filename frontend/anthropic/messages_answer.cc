// message_start, content_block_start, content_block_delta ..., content_block_stop, message_delta, message_stop.
#include "frontend/anthropic/messages_answer.h"

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
void put_end(const ChoicePiece* end, json::object& out) {
  out["stop_reason"] = nullptr;
  out["stop_sequence"] = nullptr;
  if (end == nullptr) return;
  const bool at_sequence = end->stop_reason.is_string();
  out["stop_reason"] = at_sequence ? "stop_sequence" : end->finish == FinishReason::length ? "max_tokens" : "end_turn";
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
  put_end(end, object);
  object["usage"] = json::object{{"input_tokens", tokens.prompt - tokens.cached},
                                 {"cache_creation_input_tokens", 0},
                                 {"cache_read_input_tokens", tokens.cached},
                                 {"output_tokens", tokens.output}};
  return object;
}

std::string MessagesAnswer::piece_events(size_t index, ChoicePiece piece) {
  std::string events;
  if (!std::exchange(choice(index).sent, true)) {
    events += event({{"type", "message_start"}, {"message", message({}, nullptr)}});
    events += event({{"type", "content_block_start"},
                     {"index", 0},
                     {"content_block", json::object{{"type", "text"}, {"text", ""}}}});
  }
  if (!piece.text.empty()) {
    events += event({{"type", "content_block_delta"},
                     {"index", 0},
                     {"delta", json::object{{"type", "text_delta"}, {"text", piece.text}}}});
  }
  if (!piece.finish) return events;
  events += event({{"type", "content_block_stop"}, {"index", 0}});
  json::object delta;
  put_end(&piece, delta);
  events += event({{"type", "message_delta"},
                   {"delta", std::move(delta)},
                   {"usage", json::object{{"output_tokens", counts().output}}}});
  return events;
}

std::string MessagesAnswer::closing_events() { return event({{"type", "message_stop"}}); }

std::string MessagesAnswer::error_events(const RequestError& error) { return event(messages_error_body(error)); }

json::object MessagesAnswer::body() {
  ECHELON_CHECK(done());
  const ChoicePiece& whole = choice(0).whole;
  return message({json::object{{"type", "text"}, {"text", whole.text}}}, &whole);
}

}  // namespace echelon
