// tokenizer_config.json: special tokens by name, BOS and EOS switches, chat templates.
// A token is a string or an object with "content"; a template is a string or a list of {name, template}.
#include <fmt/format.h>

#include "engine/text/tokenizer_json.h"

namespace echelon {

namespace {

using boost::json::object;
using boost::json::value;

constexpr std::string_view kFile = "tokenizer_config.json";

[[noreturn]] void fail(std::string_view field, std::string_view what) {
  throw Error(Part::text, fmt::format("{}: {} {}", kFile, field, what));
}

std::optional<std::string> read_token(const object& root, std::string_view field) {
  const value* token = root.if_contains(field);
  if (token == nullptr || token->is_null()) return std::nullopt;
  if (token->is_string()) return std::string(token->get_string());
  const value* content = token->is_object() ? token->get_object().if_contains("content") : nullptr;
  if (content == nullptr || !content->is_string()) fail(field, "is neither a string nor an object with 'content'");
  return std::string(content->get_string());
}

std::optional<bool> read_flag(const object& root, std::string_view field) {
  const value* flag = root.if_contains(field);
  if (flag == nullptr || flag->is_null()) return std::nullopt;
  if (!flag->is_bool()) fail(field, "is neither true nor false");
  return flag->get_bool();
}

std::map<std::string, std::string> read_templates(const object& root) {
  std::map<std::string, std::string> templates;
  const value* found = root.if_contains("chat_template");
  if (found == nullptr || found->is_null()) return templates;
  if (found->is_string()) {
    templates["default"] = std::string(found->get_string());
    return templates;
  }
  if (!found->is_array()) fail("chat_template", "is neither a string nor a list of {name, template}");
  for (const value& entry : found->get_array()) {
    const value* name = entry.is_object() ? entry.get_object().if_contains("name") : nullptr;
    const value* source = entry.is_object() ? entry.get_object().if_contains("template") : nullptr;
    if (!name || !source || !name->is_string() || !source->is_string()) {
      fail("chat_template", "holds an entry without the strings 'name' and 'template'");
    }
    templates[std::string(name->get_string())] = std::string(source->get_string());
  }
  return templates;
}

}  // namespace

TokenizerConfig read_tokenizer_config(std::string_view json) {
  TokenizerConfig config;
  if (json.empty()) return config;
  const value root = parse_json(json, kFile);
  if (!root.is_object()) throw Error(Part::text, "tokenizer_config.json is not an object");
  const object& fields = root.get_object();
  config.bos_token = read_token(fields, "bos_token");
  config.eos_token = read_token(fields, "eos_token");
  config.unk_token = read_token(fields, "unk_token");
  config.pad_token = read_token(fields, "pad_token");
  config.add_bos_token = read_flag(fields, "add_bos_token");
  config.add_eos_token = read_flag(fields, "add_eos_token");
  config.chat_templates = read_templates(fields);
  return config;
}

}  // namespace echelon
