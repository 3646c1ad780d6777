#include "frontend/parts/tool_prompt.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <string>
#include <utility>

namespace echelon {
namespace {

namespace json = boost::json;

std::string instructions(const json::array& told, const CallSyntax& syntax) {
  std::string text = "# Tools\nThese functions can be called, each described by a line of JSON:\n<tools>\n";
  for (const json::value& tool : told) text += json::serialize(tool.at("function")) + "\n";
  text += "</tools>\nTo call one, answer with its name and its arguments, a JSON object, and nothing behind them:\n";
  text += fmt::format("{}{}NAME{}ARGUMENTS{}{}", syntax.open.front(), syntax.before_name, syntax.after_name, syntax.end,
                      syntax.close);
  return text;
}

std::string as_text(const json::array& calls, const CallSyntax& syntax) {
  std::string text;
  for (const json::value& call : calls) {
    const json::object& function = call.at("function").as_object();
    text += text.empty() ? syntax.open.front() : syntax.separator;
    text += fmt::format("{}{}{}{}{}", syntax.before_name, std::string_view(function.at("name").as_string()),
                        syntax.after_name, json::serialize(function.at("arguments")), syntax.end);
  }
  return text + std::string(syntax.close);
}

void append(std::string_view text, json::object& message) {
  json::string& content = message["content"].as_string();
  if (!content.empty()) content += "\n";
  content += text;
}

}  // namespace

bool mentions_tools(const json::array& messages) {
  for (const json::value& message : messages) {
    if (message.as_object().contains("tool_calls") || message.at("role") == "tool") return true;
  }
  return false;
}

json::array with_tools_as_text(const json::array& messages, const json::array& told, const CallSyntax& syntax) {
  json::array result;
  const bool has_system = !messages.empty() && messages.front().at("role") == "system";
  if (!told.empty() && !has_system) result.push_back(json::object{{"role", "system"}, {"content", ""}});
  for (const json::value& value : messages) {
    json::object message = value.as_object();
    if (message.at("role") == "tool") {
      const std::string content(message.at("content").as_string());
      message = {{"role", "user"}, {"content", fmt::format("<tool_response>\n{}\n</tool_response>", content)}};
    }
    if (const json::value* calls = message.if_contains("tool_calls")) {
      append(as_text(calls->as_array(), syntax), message);
      message.erase("tool_calls");
    }
    const bool goes_on = !result.empty() && message.at("role") == "user" && result.back().at("role") == "user";
    if (goes_on) {
      append(std::string_view(message.at("content").as_string()), result.back().as_object());
    } else {
      result.push_back(std::move(message));
    }
  }
  if (!told.empty()) append(instructions(told, syntax), result.front().as_object());
  return result;
}

}  // namespace echelon
