// tools, tool_choice and parallel_tool_calls, and what messages have of calls.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "frontend/openai/json_reader.h"
#include "frontend/parts/tool.h"

namespace echelon {

/// Where the members of a function stand.
enum class ToolShape {
  nested,  ///< {"type": "function", "function": {"name", ..}}: chats
  flat,    ///< {"type": "function", "name", ..}: responses
};

/// All three. Without tools, or with tool_choice none, there is none to be called.
void read_tools(JsonReader& reader, ToolShape shape, ToolSet& tools);

/// One function, `name` and the rest read from a client's object. `path`: of its schema, for errors; a schema is that
/// of an object, with `type` where it has none. Checks the name.
void add_tool(JsonReader& reader, std::string name, std::string_view description, std::string_view parameters_name,
              bool strict, ToolSet& tools);
/// Only these may be called.
void keep_tools(JsonReader& reader, std::string_view parameter, const std::vector<std::string>& names, ToolSet& tools);

/// The arguments of an earlier call: JSON text of an object; empty text is an empty one.
boost::json::object read_arguments(JsonReader& reader, std::string_view name);

/// {"id", "type": "function", "function": {"name", "arguments": {..}}}, as templates take it.
boost::json::object told_call(std::string id, std::string name, boost::json::object arguments);

/// tool_calls of an assistant's message.
void read_tool_calls(JsonReader& message, boost::json::object& told);

/// Gives the answers of tools, messages with a tool_call_id, the names of what was called, as far as an earlier message
/// says so: some templates want them.
void name_tool_messages(boost::json::array& messages);

}  // namespace echelon
