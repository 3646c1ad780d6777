#include "frontend/openai/output_format.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <utility>

#include "frontend/refusals.h"

namespace echelon {
namespace {

namespace json = boost::json;

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
  const json::value* value = reader.find(name);
  if (value == nullptr) return;
  if (!value->is_object() && !value->is_string() && !value->is_bool())
    return reader.fail(name,
                       fmt::format("{} must be a JSON schema, not {}", reader.full_name(name), kind_name(*value)));
  std::string text = value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
  set_format(reader, name, GrammarKind::json_schema, std::move(text), params);
}

void read_source(JsonReader& reader, std::string_view name, GrammarKind kind, GenerationParams& params) {
  std::string text;
  if (reader.find(name) == nullptr) return;
  reader.read(name, text);
  if (!reader.failed()) set_format(reader, name, kind, std::move(text), params);
}

void read_choice(JsonReader& reader, std::string_view name, GenerationParams& params) {
  const json::value* value = reader.find(name);
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
  const json::value& schema = reader.require("schema");
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
    std::string type;
    format.require("type");
    format.read("type", type);
    if (type == "json_schema") {
      format.require("json_schema");
      if (format.failed()) return;
      read_object(format, "json_schema", [&](JsonReader& schema) { read_named_schema(schema, params); });
    } else if (type == "json_object") {
      // llama.cpp's servers take a schema here.
      if (format.find("schema") != nullptr) return read_schema(format, "schema", params);
      set_format(format, "type", GrammarKind::json_object, "", params);
    } else if (type != "text") {
      format.fail("type", "response_format.type must be text, json_object or json_schema");
    }
  });
}

void read_text_format(JsonReader& text, GenerationParams& params) {
  read_object(text, "format", [&](JsonReader& format) {
    std::string type;
    format.require("type");
    format.read("type", type);
    if (type == "json_schema") {
      read_named_schema(format, params);
    } else if (type == "json_object") {
      set_format(format, "type", GrammarKind::json_object, "", params);
    } else if (type != "text") {
      format.fail("type", "text.format.type must be text, json_object or json_schema");
    }
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
