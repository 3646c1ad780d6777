#include "frontend/openapi/document.h"

#include <boost/json/parse.hpp>
#include <string>
#include <utility>

namespace echelon {
namespace {

namespace json = boost::json;

constexpr std::string_view kKeyScheme = "key";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

/// "post_v1_chat_completions"
std::string operation_id(std::string_view method, std::string_view path) {
  std::string id = lower_case(method);
  for (const char c : path) {
    if (c == '{' || c == '}' || c == '+') continue;
    id += c == '/' || c == '-' ? '_' : c;
  }
  return id;
}

/// The path without the sign of OpenAPI's next version, and the name of its parameter, if it has one.
std::pair<std::string, std::string> path_and_parameter(std::string_view pattern) {
  std::string path(pattern);
  if (const size_t plus = path.find("{+"); plus != std::string::npos) path.erase(plus + 1, 1);
  const size_t begin = path.find('{');
  if (begin == std::string::npos) return {std::move(path), ""};
  std::string name = path.substr(begin + 1, path.find('}') - begin - 1);
  return {std::move(path), std::move(name)};
}

json::object reference(std::string_view name) { return {{"$ref", "#/components/schemas/" + std::string(name)}}; }

json::object of_media(std::string_view media, json::object schema) {
  return {{media, json::object{{"schema", std::move(schema)}}}};
}

json::array parameters(const Operation& operation, std::string_view path_parameter) {
  json::array list;
  if (!path_parameter.empty())
    list.push_back(json::object{{"name", path_parameter},
                                {"in", "path"},
                                {"required", true},
                                {"schema", json::object{{"type", "string"}, {"minLength", 1}}}});
  for (const QueryParameter& parameter : operation.query)
    list.push_back(json::object{{"name", parameter.name}, {"in", "query"}, {"schema", json::parse(parameter.shape)}});
  return list;
}

json::object request_body(const Operation& operation, const ModelInfo& model) {
  if (operation.is_upload) {
    return {{"required", true},
            {"content", of_media("multipart/form-data", json::parse(R"({
               "type": "object", "required": ["purpose", "file"], "additionalProperties": false,
               "properties": {"purpose": {"const": "batch"}, "file": {"type": "string", "format": "binary"}}})")
                                                            .as_object())}};
  }
  json::object schema = described([&](JsonReader& reader) { operation.body(reader, model); });
  return {{"required", true}, {"content", of_media("application/json", std::move(schema))}};
}

json::object responses(const Operation& operation) {
  json::object content;
  if (!operation.answer.empty()) {
    content = of_media(operation.media, reference(operation.answer));
  } else {
    content = of_media(operation.media, {{"type", "string"}});
  }
  if (operation.streams) content["text/event-stream"] = json::object{{"schema", json::object{{"type", "string"}}}};
  return {{"200", json::object{{"description", "the answer"}, {"content", std::move(content)}}},
          {"default", json::object{{"description", "an error"},
                                   {"content", of_media("application/json", reference(operation.error))}}}};
}

}  // namespace

json::object openapi_document(std::span<const PlacedOperation> operations, const ModelInfo& model,
                              std::string_view version) {
  json::object paths;
  for (const PlacedOperation& placed : operations) {
    const Operation& operation = *placed.operation;
    const auto [path, parameter] = path_and_parameter(placed.path);
    json::object entry{{"summary", operation.summary}, {"operationId", operation_id(placed.method, placed.path)}};
    if (json::array list = parameters(operation, parameter); !list.empty()) entry["parameters"] = std::move(list);
    if (operation.body != nullptr || operation.is_upload) entry["requestBody"] = request_body(operation, model);
    entry["responses"] = responses(operation);
    if (placed.asks_key) entry["security"] = json::array{json::object{{kKeyScheme, json::array{}}}};
    json::value& methods = paths[path];
    if (methods.is_null()) methods.emplace_object();
    methods.as_object()[lower_case(placed.method)] = std::move(entry);
  }
  return {
      {"openapi", "3.1.0"},
      {"info", json::object{{"title", "Echelon"}, {"version", version}, {"summary", "serves " + model.name}}},
      {"servers", json::array{json::object{{"url", "/"}}}},
      {"paths", std::move(paths)},
      {"components", json::object{{"schemas", answer_schemas()},
                                  {"securitySchemes",
                                   json::object{{kKeyScheme, json::object{{"type", "http"}, {"scheme", "bearer"}}}}}}}};
}

}  // namespace echelon
