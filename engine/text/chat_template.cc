// The public face of the template language: JSON in, text or an error out.
#include "engine/text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "engine/text/template_built_ins.h"
#include "engine/text/template_evaluator.h"
#include "engine/text/utf8.h"
#include "kernels/base/error.h"

namespace echelon {

namespace {

using templates::TemplateFailure;
using templates::Value;

constexpr size_t kMaxMessageBytes = 16384;

/// Fails for a value nested too deeply, and for integers that do not fit 64 bits with a sign.
Value from_json(const boost::json::value& json, int depth = 0) {
  if (depth > templates::kMaxValueDepth)
    templates::fail(fmt::format("the input is nested deeper than {} levels", templates::kMaxValueDepth));
  switch (json.kind()) {
    case boost::json::kind::null:
      return Value();
    case boost::json::kind::bool_:
      return json.get_bool();
    case boost::json::kind::int64:
      return json.get_int64();
    case boost::json::kind::uint64:
      if (json.get_uint64() > static_cast<uint64_t>(INT64_MAX))
        templates::fail("an integer of the input has more than 63 bits");
      return static_cast<int64_t>(json.get_uint64());
    case boost::json::kind::double_:
      return json.get_double();
    case boost::json::kind::string:
      return replace_invalid_utf8(json.get_string());
    case boost::json::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const auto& item : json.get_array()) items.push_back(from_json(item, depth + 1));
      return templates::make_list(std::move(items));
    }
    case boost::json::kind::object: {
      std::vector<std::pair<Value, Value>> items;
      items.reserve(json.get_object().size());
      for (const auto& [key, value] : json.get_object()) {
        items.emplace_back(Value(replace_invalid_utf8(key)), from_json(value, depth + 1));
      }
      return templates::make_dict(std::move(items));
    }
  }
  return Value();
}

std::vector<std::pair<std::string, Value>> variables_of(const ChatInput& input) {
  std::vector<std::pair<std::string, Value>> variables;
  variables.emplace_back("messages", from_json(input.messages));
  variables.emplace_back("tools", from_json(input.tools));
  variables.emplace_back("documents", from_json(input.documents));
  variables.emplace_back("add_generation_prompt", Value(input.add_generation_prompt));
  if (!input.bos_token.empty()) variables.emplace_back("bos_token", Value(input.bos_token));
  if (!input.eos_token.empty()) variables.emplace_back("eos_token", Value(input.eos_token));
  for (const auto& [name, value] : input.variables) variables.emplace_back(std::string(name), from_json(value));
  return variables;
}

/// A message may be a text of the client's, of any length.
std::string shortened(const std::string& message) {
  if (message.size() <= kMaxMessageBytes) return message;
  return replace_invalid_utf8(std::string_view(message).substr(0, kMaxMessageBytes));
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm broken_down{};
  localtime_r(&now, &broken_down);
  return broken_down;
}

}  // namespace

struct ChatTemplate::Parsed {
  templates::Block block;
};

ChatTemplate::ChatTemplate(std::string source, std::shared_ptr<const Parsed> parsed)
    : source_(std::move(source)), parsed_(std::move(parsed)) {}

ChatTemplate ChatTemplate::parse(std::string_view source) {
  auto parsed = std::make_shared<Parsed>();
  parsed->block = templates::parse_template(source);
  return ChatTemplate(std::string(source), std::move(parsed));
}

ChatTemplate ChatTemplate::built_in(std::string_view name) {
  for (const templates::BuiltIn& entry : templates::built_ins()) {
    if (entry.name == name) return parse(entry.source);
  }
  throw Error(Part::text, fmt::format("there is no built-in chat template '{}'; there are {}", name,
                                      fmt::join(built_in_names(), ", ")));
}

std::vector<std::string_view> ChatTemplate::built_in_names() {
  std::vector<std::string_view> names;
  for (const templates::BuiltIn& entry : templates::built_ins()) names.push_back(entry.name);
  return names;
}

ChatTemplate ChatTemplate::file_or_built_in(const std::string& name) {
  std::error_code error;
  if (!std::filesystem::exists(name, error)) {
    const std::vector<std::string_view> names = built_in_names();
    if (std::find(names.begin(), names.end(), name) != names.end()) return built_in(name);
    throw Error(Part::text, fmt::format("chat template {}: there is no such file, and the built-in ones are {}", name,
                                        fmt::join(names, ", ")));
  }
  const uint64_t size = std::filesystem::file_size(name, error);
  if (error) throw Error(Part::text, fmt::format("chat template {}: {}", name, error.message()));
  if (size > templates::kMaxTemplateBytes)
    throw Error(Part::text, fmt::format("chat template {} has more than {} bytes", name, templates::kMaxTemplateBytes));
  std::ifstream file(name, std::ios::binary);
  const std::string source{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) throw Error(Part::text, fmt::format("chat template {} cannot be read", name));
  return parse(source);
}

boost::system::result<std::string, TemplateError> ChatTemplate::render(const ChatInput& input) const {
  int line = 0;
  try {
    templates::Evaluator evaluator(variables_of(input), input.now ? *input.now : local_time());
    try {
      return evaluator.run(parsed_->block);
    } catch (const TemplateFailure&) {
      line = evaluator.line();
      throw;
    }
  } catch (const TemplateFailure& failure) {
    return TemplateError{shortened(failure.message), line, failure.raised};
  }
}

bool ChatTemplate::mentions(std::string_view variable) const { return source_.find(variable) != std::string::npos; }

void throw_exception_from_error(const TemplateError& error, const boost::source_location&) {
  throw Error(Part::text, fmt::format("chat template, line {}: {}", error.line, error.message));
}

}  // namespace echelon
