#include "frontend/openai/output_format.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <utility>

#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr std::string_view kFormats[] = {"text", "json_object", "json_schema"};

/// One answer cannot be a text of two grammars.
void set_format(JsonReader& reader, std::string_view name, GrammarKind kind, std::string text,
                GenerationParams& params) {
  if (params.format)
    return reader.fail(name, fmt::format("{} and {} both say what the answer must be; only one can",
                                         reader.full_name(name), params.format_parameter));
  if (text.size() > kMaxGrammarText)
    return reader.fail(name, fmt::format("{} has more than {} bytes", reader.full_name(name), kMaxGrammarText));
  params.format = GrammarSource{.kind = kind, .text = std::move(text)};
  params.format_parameter = reader.full_name(name);
}

/// A schema, or one as text, as vLLM takes it, too.
void read_schema(JsonReader& reader, std::string_view name, GenerationParams& params) {
  const json::value* value = reader.find(name, R"({"type": ["object", "string", "boolean"]})");
  if (value == nullptr) return;
  if (!value->is_object() && !value->is_string() && !value->is_bool())
    return reader.fail(name,
                       fmt::format("{} must be a JSON schema, not {}", reader.full_name(name), kind_name(*value)));
  std::string text = value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
  set_format(reader, name, GrammarKind::json_schema, std::move(text), params);
}

void read_source(JsonReader& reader, std::string_view name, GrammarKind kind, GenerationParams& params) {
  std::string text;
  reader.read(name, text);
  if (reader.find(name) != nullptr && !reader.failed()) set_format(reader, name, kind, std::move(text), params);
}

void read_choice(JsonReader& reader, std::string_view name, GenerationParams& params) {
  const json::value* value =
      reader.find(name, R"({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1})");
  if (value == nullptr) return;
  const auto is_text = [](const json::value& each) { return each.is_string() && !each.get_string().empty(); };
  if (!value->is_array() || value->get_array().empty() ||
      !std::all_of(value->get_array().begin(), value->get_array().end(), is_text))
    return reader.fail(name, fmt::format("{} must be an array of strings that are not empty", reader.full_name(name)));
  set_format(reader, name, GrammarKind::choice, json::serialize(*value), params);
}

void read_json_object(JsonReader& reader, std::string_view name, GenerationParams& params) {
  bool wanted = false;
  reader.read(name, wanted);
  if (wanted) set_format(reader, name, GrammarKind::json_object, "", params);
}

/// The members that go with a schema; a schema is always kept to, strict or not.
void read_named_schema(JsonReader& reader, GenerationParams& params) {
  std::string name, description;
  bool strict = false;
  reader.require("name");
  reader.read("name", name);
  reader.read("description", description);
  reader.read("strict", strict);
  const json::value& schema = reader.require("schema", R"({"type": ["object", "boolean"]})");
  if (!reader.failed() && !schema.is_object() && !schema.is_bool())
    return reader.fail("schema",
                       fmt::format("{} must be a JSON schema, not {}", reader.full_name("schema"), kind_name(schema)));
  read_schema(reader, "schema", params);
}

}  // namespace

void read_structured_outputs(JsonReader& reader, GenerationParams& params) {
  read_object(reader, "structured_outputs", [&](JsonReader& outputs) {
    read_schema(outputs, "json", params);
    read_json_object(outputs, "json_object", params);
    read_source(outputs, "regex", GrammarKind::regex, params);
    read_source(outputs, "grammar", GrammarKind::gbnf, params);
    read_choice(outputs, "choice", params);
    bool ignored = false;  // vLLM's choice among its backends, and what they leave to one
    for (const std::string_view name : {"disable_fallback", "disable_any_whitespace", "disable_additional_properties"})
      outputs.read(name, ignored);
  });
  read_schema(reader, "guided_json", params);
  read_source(reader, "guided_regex", GrammarKind::regex, params);
  read_source(reader, "guided_grammar", GrammarKind::gbnf, params);
  read_choice(reader, "guided_choice", params);
  std::string ignored;
  reader.read("guided_decoding_backend", ignored);
}

void read_response_format(JsonReader& reader, GenerationParams& params) {
  read_object(reader, "response_format", [&](JsonReader& format) {
    read_case(format, "type", kFormats, "", [&](JsonReader& members, std::string_view type) {
      if (type == "json_schema") {
        read_object(members, "json_schema", [&](JsonReader& schema) { read_named_schema(schema, params); });
        members.require("json_schema");
      } else if (type == "json_object") {
        read_schema(members, "schema", params);  // llama.cpp's servers take one here
        if (members.find("schema") == nullptr) set_format(members, "type", GrammarKind::json_object, "", params);
      }
    });
  });
}

void read_text_format(JsonReader& text, GenerationParams& params) {
  read_object(text, "format", [&](JsonReader& format) {
    read_case(format, "type", kFormats, "", [&](JsonReader& members, std::string_view type) {
      if (type == "json_schema") read_named_schema(members, params);
      if (type == "json_object") set_format(members, "type", GrammarKind::json_object, "", params);
    });
  });
}

bool is_output_format_compiled(const GenerationParams& params, const ModelInfo& model) {
  return !params.format || model.grammars->find(*params.format) != nullptr;
}

std::optional<RequestError> compile_output_format(GenerationParams& params, const ModelInfo& model) {
  if (!params.format) return std::nullopt;
  try {
    params.grammar = model.grammars->get(*params.format);
    return std::nullopt;
  } catch (const GrammarError& error) {
    return bad_request(params.format_parameter, fmt::format("{}: {}", params.format_parameter, error.what()),
                       "invalid_grammar");
  }
}

}  // namespace echelon
