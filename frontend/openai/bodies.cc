// Plain functions from values to JSON.
// Shapes are OpenAI's; `root` and `max_model_len` of a model are vLLM's.
#include "frontend/openai/bodies.h"

#include <boost/json/array.hpp>

namespace echelon {

namespace json = boost::json;

json::object error_body(const RequestError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? json::value() : json::value(text); };
  json::object inner;
  inner["message"] = error.message;
  inner["type"] = error.type;
  inner["param"] = or_null(error.param);
  inner["code"] = or_null(error.code);
  return {{"error", std::move(inner)}};
}

json::object model_card(const ModelInfo& model) {
  json::object card;
  card["id"] = model.name;
  card["object"] = "model";
  card["created"] = model.created_unix_s;
  card["owned_by"] = "echelon";
  card["root"] = model.root;
  card["parent"] = nullptr;
  card["max_model_len"] = model.max_model_len;
  return card;
}

json::object model_list(const ModelInfo& model) {
  json::object list;
  list["object"] = "list";
  list["data"] = json::array{model_card(model)};
  return list;
}

std::string_view state_name(EngineState state) {
  switch (state) {
    case EngineState::loading:
      return "loading";
    case EngineState::ready:
      return "ready";
    case EngineState::repairing:
      return "repairing";
    case EngineState::draining:
      return "draining";
    case EngineState::stopped:
      return "stopped";
    case EngineState::failed:
      return "failed";
  }
  return "failed";
}

json::object health_body(EngineState state, std::string_view reason) {
  json::object body;
  body["status"] = state_name(state);
  body["reason"] = reason.empty() ? json::value() : json::value(reason);
  return body;
}

}  // namespace echelon
