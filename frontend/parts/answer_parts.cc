#include "frontend/parts/answer_parts.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

namespace echelon {
namespace {

namespace json = boost::json;

std::string begin_of(const CallSyntax& syntax, const Tool& tool) {
  return fmt::format("{}{}{}", syntax.before_name, tool.name, syntax.after_name);
}

/// As engine/grammar/answer_grammar.h has it.
json::object calls_member(const AnswerParts& parts) {
  const CallSyntax& syntax = *parts.calls;
  json::object calls;
  if (!syntax.trigger.empty()) calls["trigger"] = syntax.trigger;
  json::array& open = calls["open"].emplace_array();
  for (const std::string_view text : syntax.open) open.emplace_back(text);
  calls["separator"] = syntax.separator;
  calls["close"] = syntax.close;
  calls["only_one"] = parts.only_one_call || syntax.only_one;
  json::array& tags = calls["tags"].emplace_array();
  for (const Tool& tool : parts.tools) {
    json::object tag;
    tag["begin"] = begin_of(syntax, tool);
    tag["schema"] = tool.parameters;
    tag["end"] = syntax.end;
    tag["strict"] = tool.strict;
    tag["name"] = tool.parameter;
    tags.push_back(std::move(tag));
  }
  return calls;
}

}  // namespace

std::vector<std::string_view> AnswerParts::controls() const {
  std::vector<std::string_view> texts;
  if (reasoning) texts = {reasoning->begin, reasoning->end};
  if (calls != nullptr) texts.insert(texts.end(), calls->controls.begin(), calls->controls.end());
  return texts;
}

std::vector<std::pair<std::string, size_t>> AnswerParts::first_begins() const {
  std::vector<std::pair<std::string, size_t>> begins;
  for (const std::string_view open : calls->open) {
    for (size_t i = 0; i < tools.size(); ++i) begins.emplace_back(std::string(open) + begin_of(*calls, tools[i]), i);
  }
  return begins;
}

std::vector<std::pair<std::string, size_t>> AnswerParts::next_begins() const {
  std::vector<std::pair<std::string, size_t>> begins;
  for (size_t i = 0; i < tools.size(); ++i)
    begins.emplace_back(fmt::format("{}{}{}", calls->end, calls->separator, begin_of(*calls, tools[i])), i);
  return begins;
}

std::string AnswerParts::last_end() const { return std::string(calls->end) + std::string(calls->close); }

std::optional<GrammarSource> answer_grammar(const AnswerParts& parts, const std::optional<GrammarSource>& content) {
  if (parts.calls == nullptr && (!content || !parts.reasoning)) return content;
  json::object answer;
  if (parts.reasoning) {
    answer["reasoning"] = json::object{
        {"begin", parts.reasoning->begin}, {"end", parts.reasoning->end}, {"is_open", parts.reasoning->is_open}};
  }
  if (content && !parts.only_calls) {
    answer["content"] = json::object{{"kind", static_cast<int>(content->kind)}, {"text", content->text}};
  } else if (!parts.only_calls) {
    answer["content"] = nullptr;
  }
  if (parts.calls != nullptr) answer["calls"] = calls_member(parts);
  json::array& controls = answer["control"].emplace_array();
  for (const std::string_view text : parts.controls()) controls.emplace_back(text);
  return GrammarSource{.kind = GrammarKind::answer, .text = json::serialize(answer)};
}

}  // namespace echelon
