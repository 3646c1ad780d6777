#include "frontend/parts/call_syntax.h"

namespace echelon {
namespace {

const std::vector<CallSyntax>& all() {
  static const std::vector<CallSyntax> syntaxes{
      {.name = "hermes",
       .trigger = "<tool_call>",
       .open = {""},
       .before_name = "<tool_call>\n{\"name\": \"",
       .after_name = "\", \"arguments\": ",
       .end = "}\n</tool_call>",
       .separator = "\n",
       .controls = {"<tool_call>", "</tool_call>"}},
      {.name = "llama3_json",
       .open = {"", "<|python_tag|>"},
       .before_name = "{\"name\": \"",
       .after_name = "\", \"parameters\": ",
       .end = "}",
       .only_one = true,
       .controls = {"<|python_tag|>"}},
      // Its templates insist on ids of nine letters and digits.
      {.name = "mistral",
       .trigger = "[TOOL_CALLS]",
       .open = {"[TOOL_CALLS][", "[TOOL_CALLS] ["},
       .before_name = "{\"name\": \"",
       .after_name = "\", \"arguments\": ",
       .end = "}",
       .separator = ", ",
       .close = "]",
       .controls = {"[TOOL_CALLS]"},
       .id_digits = 9,
       .has_id_prefix = false},
      {.name = "mistral_args",
       .trigger = "[TOOL_CALLS]",
       .open = {""},
       .before_name = "[TOOL_CALLS]",
       .after_name = "[ARGS]",
       .controls = {"[TOOL_CALLS]", "[ARGS]"},
       .id_digits = 9,
       .has_id_prefix = false},
  };
  return syntaxes;
}

}  // namespace

const CallSyntax* call_syntax(std::string_view name) {
  for (const CallSyntax& syntax : all()) {
    if (syntax.name == name) return &syntax;
  }
  return nullptr;
}

std::vector<std::string_view> call_syntax_names() {
  std::vector<std::string_view> names;
  for (const CallSyntax& syntax : all()) names.push_back(syntax.name);
  return names;
}

const CallSyntax* call_syntax_of(const ChatTemplate& chat_template) {
  const std::string& source = chat_template.source();
  const auto has = [&](std::string_view text) { return source.find(text) != source.npos; };
  if (!chat_template.mentions("tools")) return call_syntax("hermes");
  if (has("[TOOL_CALLS]")) return has("[CALL_ID]") ? nullptr : call_syntax(has("[ARGS]") ? "mistral_args" : "mistral");
  if (has("<tool_call>")) return has("<function=") || has("<arg_key>") ? nullptr : call_syntax("hermes");
  const bool is_llama = has("<|python_tag|>") || (has("{\"name\": ") && has("\"parameters\": "));
  return is_llama ? call_syntax("llama3_json") : nullptr;
}

bool has_reasoning(const ChatTemplate& chat_template) {
  return chat_template.source().find(ReasoningSyntax().end) != std::string::npos;
}

}  // namespace echelon
