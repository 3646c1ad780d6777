// Of which parts an answer may consist: reasoning, text, calls of tools. What the sampler is kept to, and how the text
// is cut (answer_parser.h), both follow from it. Immutable once made.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/grammar.h"
#include "frontend/parts/call_syntax.h"
#include "frontend/parts/tool.h"

namespace echelon {

struct ReasoningPart : ReasoningSyntax {
  bool is_open = false;  ///< the prompt has begun it
};

struct AnswerParts {
  std::optional<ReasoningPart> reasoning;  ///< absent: the model does none
  const CallSyntax* calls = nullptr;   ///< null: there are none
  std::vector<Tool> tools;             ///< that may be called
  bool only_calls = false, only_one_call = false;

  bool has_parts() const { return reasoning || calls != nullptr; }
  /// Texts of the parts that may be control tokens: they are shown to the parser.
  std::vector<std::string_view> controls() const;
  /// What a call of each tool begins with, up to its arguments, and the tool: the first one of an answer, or a further
  /// one, with what stands before it.
  std::vector<std::pair<std::string, size_t>> first_begins() const;
  std::vector<std::pair<std::string, size_t>> next_begins() const;
  std::string last_end() const;  ///< what ends the last call
};

/// What the answer must be a text of, when `content` is what its text must be (absent: anything).
std::optional<GrammarSource> answer_grammar(const AnswerParts& parts, const std::optional<GrammarSource>& content);

}  // namespace echelon
