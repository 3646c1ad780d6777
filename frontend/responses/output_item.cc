#include "frontend/responses/output_item.h"

namespace echelon {

namespace json = boost::json;

json::object OutputItem::part(bool begun) const {
  const std::string_view shown = begun ? std::string_view() : text;
  if (kind == Kind::reasoning) return {{"type", "reasoning_text"}, {"text", shown}};
  return {{"type", "output_text"},
          {"text", shown},
          {"annotations", json::array{}},
          {"logprobs", begun ? json::array{} : logprobs}};
}

json::object OutputItem::json(std::string_view status, bool begun) const {
  json::object item{{"id", id}};
  const auto content = [&] { return begun ? json::array{} : json::array{part()}; };
  switch (kind) {
    case Kind::reasoning:
      item["type"] = "reasoning";
      item["summary"] = json::array{};
      item["content"] = content();
      break;
    case Kind::message:
      item["type"] = "message";
      item["role"] = "assistant";
      item["content"] = content();
      break;
    case Kind::function_call:
      item["type"] = "function_call";
      item["call_id"] = call_id;
      item["name"] = name;
      item["arguments"] = begun ? std::string_view() : text;
      break;
  }
  item["status"] = status;
  return item;
}

std::string_view id_prefix(OutputItem::Kind kind) {
  switch (kind) {
    case OutputItem::Kind::reasoning:
      return "rs_";
    case OutputItem::Kind::message:
      return "msg_";
    case OutputItem::Kind::function_call:
      return "fc_";
  }
  return "";
}

}  // namespace echelon
