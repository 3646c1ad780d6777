// How families of models write the calls of tools.
//
//   hermes        <tool_call>\n{"name": "f", "arguments": {..}}\n</tool_call>, Qwen's too; one after the other
//   llama3_json   {"name": "f", "parameters": {..}}, maybe behind <|python_tag|>, and nothing else
//   mistral       [TOOL_CALLS] [{"name": "f", "arguments": {..}}, ..]
//   mistral_args  [TOOL_CALLS]f[ARGS]{..}, one after the other
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"

namespace echelon {

/// One of `open`; for every call before_name, its name, after_name, its arguments as JSON, end; `separator` between
/// calls; `close`.
struct CallSyntax {
  std::string_view name;
  std::string_view trigger;  ///< a text with it is a call; empty: calls stand at the beginning
  std::vector<std::string_view> open;
  std::string_view before_name, after_name, end, separator, close;
  bool only_one = false;                   ///< the family's templates take one call an answer
  std::vector<std::string_view> controls;  ///< parts that are control tokens in some vocabularies
  size_t id_digits = 24;                   ///< of a call's id, letters among them
  bool has_id_prefix = true;               ///< "call_" and the like
};

/// Of that name; null when there is none.
const CallSyntax* call_syntax(std::string_view name);
/// Of all, in the order of the above.
std::vector<std::string_view> call_syntax_names();

/// What a template writes; hermes for one that knows nothing of tools (tool_prompt.h). Null: it is none of the above.
const CallSyntax* call_syntax_of(const ChatTemplate& chat_template);

/// Texts around reasoning.
struct ReasoningSyntax {
  std::string_view begin = "<think>", end = "</think>";
};
/// Whether the template is one of a model that reasons before it answers.
bool has_reasoning(const ChatTemplate& chat_template);

}  // namespace echelon
