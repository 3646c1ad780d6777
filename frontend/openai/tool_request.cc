// Schemas go to the template as they came, and to the grammar with what they leave out.
#include "frontend/openai/tool_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <map>
#include <utility>

namespace echelon {
namespace {

namespace json = boost::json;

constexpr std::string_view kToolNameShape = R"({"type": "string", "pattern": "^[0-9A-Za-z_.:/-]{1,128}$"})";
static_assert(kMaxToolName == 128);

/// A schema for the arguments: without properties there are none.
json::object completed(json::object schema) {
  if (!schema.contains("type")) schema["type"] = "object";
  const json::value* properties = schema.if_contains("properties");
  const bool lists_none = properties == nullptr || (properties->is_object() && properties->get_object().empty());
  const bool says_more = std::any_of(schema.begin(), schema.end(), [](const auto& member) {
    const std::string_view key = member.key();
    return key == "additionalProperties" || key == "patternProperties" || key == "$ref" || key.ends_with("Of");
  });
  if (lists_none && !says_more) schema["additionalProperties"] = false;
  return schema;
}

void read_function(JsonReader& function, ToolSet& tools) {
  std::string name, description;
  bool strict = false;
  function.require("name", kToolNameShape);
  function.read("name", name);
  function.read("description", description);
  function.read("strict", strict);
  add_tool(function, std::move(name), description, "parameters", strict, tools);
}

void read_list(JsonReader& reader, ToolShape shape, ToolSet& tools) {
  read_elements(reader, "tools", {0, kMaxTools, "tools"}, [&](JsonReader& tool) {
    std::string type = "function";
    tool.find("type", R"({"const": "function"})");
    tool.read("type", type);
    if (type != "function")
      return tool.fail("type", fmt::format("{} must be function; no other tools are served", tool.full_name("type")),
                       "unsupported_parameter");
    if (shape == ToolShape::flat) return read_function(tool, tools);
    tool.require("function");
    read_object(tool, "function", [&](JsonReader& function) { read_function(function, tools); });
  });
}

/// The name of a function that a choice refers to.
std::string name_in(JsonReader& reader, ToolShape shape) {
  std::string name;
  const auto read = [&](JsonReader& function) {
    function.require("name");
    function.read("name", name);
  };
  if (shape == ToolShape::flat) {
    read(reader);
  } else {
    reader.require("function");
    read_object(reader, "function", read);
  }
  return name;
}

void read_allowed_tools(JsonReader& allowed, ToolShape shape, ToolSet& tools) {
  constexpr std::string_view kModes[] = {"auto", "required"};
  std::string mode = "auto";
  allowed.read_word("mode", mode, kModes);
  if (mode == "required") tools.choice = ToolChoice::required;
  std::vector<std::string> names;
  allowed.require("tools");
  read_elements(allowed, "tools", {1, kMaxTools, "tools"}, [&](JsonReader& tool) {
    std::string type;
    tool.read("type", type);
    names.push_back(name_in(tool, shape));
  });
  if (!allowed.failed()) keep_tools(allowed, "tools", names, tools);
}

void read_choice_object(JsonReader& choice, ToolShape shape, ToolSet& tools) {
  constexpr std::string_view kKinds[] = {"function", "allowed_tools"};
  read_case(choice, "type", kKinds, "", [&](JsonReader& members, std::string_view kind) {
    if (kind == "function") {
      tools.choice = ToolChoice::required;
      tools.parallel = false;
      const std::string name = name_in(members, shape);
      if (!members.failed()) keep_tools(members, shape == ToolShape::flat ? "name" : "function", {name}, tools);
    } else if (shape == ToolShape::flat) {
      read_allowed_tools(members, shape, tools);
    } else {
      members.require("allowed_tools");
      read_object(members, "allowed_tools", [&](JsonReader& allowed) { read_allowed_tools(allowed, shape, tools); });
    }
  });
}

void read_choice(JsonReader& reader, ToolShape shape, ToolSet& tools) {
  const auto read_object_of_it = [&](JsonReader& choice) { read_choice_object(choice, shape, tools); };
  const json::value* value = reader.find_shaped("tool_choice", [&] {
    constexpr std::string_view kWords[] = {"none", "auto", "required"};
    return any_of({words_shape(kWords), described(read_object_of_it)});
  });
  if (value == nullptr) return;
  const bool is_word = value->is_string();
  if (is_word && *value == "none") {
    tools.choice = ToolChoice::none;
  } else if (is_word && *value == "auto") {
    tools.choice = ToolChoice::automatic;
  } else if (tools.tools.empty()) {
    reader.fail("tool_choice", "tool_choice is only allowed with tools");
  } else if (is_word && *value == "required") {
    tools.choice = ToolChoice::required;
  } else if (value->is_object()) {
    read_object(reader, "tool_choice", read_object_of_it);
  } else {
    reader.fail("tool_choice", "tool_choice must be none, auto, required, or an object that names a function");
  }
}

}  // namespace

void add_tool(JsonReader& reader, std::string name, std::string_view description, std::string_view parameters_name,
              bool strict, ToolSet& tools) {
  const json::value* schema = reader.find(parameters_name, R"({"type": "object"})");
  if (reader.failed()) return;
  if (!is_identifier(name, kMaxToolName, "/"))
    return reader.fail(
        "name", fmt::format("{} must be 1 to {} of letters, digits and _.:/-", reader.full_name("name"), kMaxToolName));
  const auto has_name = [&](const Tool& tool) { return tool.name == name; };
  if (std::any_of(tools.tools.begin(), tools.tools.end(), has_name))
    return reader.fail("name", fmt::format("{} is the name of an earlier tool", reader.full_name("name")));
  const json::value* type =
      schema != nullptr && schema->is_object() ? schema->get_object().if_contains("type") : nullptr;
  if (schema != nullptr && (!schema->is_object() || (type != nullptr && *type != "object")))
    return reader.fail(parameters_name,
                       fmt::format("{} must be the JSON schema of an object", reader.full_name(parameters_name)));
  const json::object parameters =
      schema != nullptr ? schema->get_object() : json::object{{"type", "object"}, {"properties", json::object{}}};
  json::object function{{"name", name}};
  if (!description.empty()) function["description"] = description;
  function["parameters"] = parameters;
  tools.told.push_back(json::object{{"type", "function"}, {"function", std::move(function)}});
  tools.tools.push_back({.name = std::move(name),
                         .parameters = completed(parameters),
                         .strict = strict,
                         .parameter = reader.full_name(parameters_name)});
}

void keep_tools(JsonReader& reader, std::string_view parameter, const std::vector<std::string>& names, ToolSet& tools) {
  for (const std::string& name : names) {
    const auto has_name = [&](const Tool& tool) { return tool.name == name; };
    if (std::none_of(tools.tools.begin(), tools.tools.end(), has_name))
      return reader.fail(parameter, "tool_choice names a function that is not among the tools");
  }
  std::erase_if(tools.tools,
                [&](const Tool& tool) { return std::find(names.begin(), names.end(), tool.name) == names.end(); });
}

void read_tools(JsonReader& reader, ToolShape shape, ToolSet& tools) {
  read_list(reader, shape, tools);
  reader.read("parallel_tool_calls", tools.parallel);
  if (!reader.failed()) read_choice(reader, shape, tools);
  tools.drop_unless_callable();
}

json::object read_arguments(JsonReader& reader, std::string_view name) {
  std::string text;
  reader.read(name, text);
  if (text.empty()) return {};
  const auto object = parse_json_object(text, true);  // a model wrote it
  if (object.has_value()) return *object;
  reader.fail(name, fmt::format("{} must be a JSON object, as text", reader.full_name(name)));
  return {};
}

json::object told_call(std::string id, std::string name, json::object arguments) {
  return {{"id", std::move(id)},
          {"type", "function"},
          {"function", json::object{{"name", std::move(name)}, {"arguments", std::move(arguments)}}}};
}

void read_tool_calls(JsonReader& message, json::object& told) {
  json::array list;
  read_elements(message, "tool_calls", {0, kMaxTools, "calls"}, [&](JsonReader& call) {
    constexpr std::string_view kTypes[] = {"function"};
    std::string id, type = "function", name;
    std::optional<int64_t> index;  // of a delta that was kept
    call.read("id", id);
    call.read("index", index, 0, static_cast<int64_t>(kMaxTools));
    call.read_word("type", type, kTypes);
    call.require("function");
    json::object arguments;
    read_object(call, "function", [&](JsonReader& function) {
      function.require("name");
      function.read("name", name);
      arguments = read_arguments(function, "arguments");
      function.find("parsed_arguments");  // what a client made of them
    });
    list.push_back(told_call(std::move(id), std::move(name), std::move(arguments)));
  });
  if (!list.empty()) told["tool_calls"] = std::move(list);
}

void name_tool_messages(json::array& messages) {
  std::map<std::string, std::string, std::less<>> names;  // by id
  for (json::value& value : messages) {
    json::object& message = value.as_object();
    if (const json::value* calls = message.if_contains("tool_calls")) {
      for (const json::value& call : calls->as_array())
        names[std::string(call.at("id").as_string())] = std::string(call.at("function").at("name").as_string());
    }
    const json::value* id = message.if_contains("tool_call_id");
    if (id == nullptr || message.contains("name")) continue;
    const auto found = names.find(std::string_view(id->as_string()));
    if (found != names.end()) message["name"] = found->second;
  }
}

}  // namespace echelon
