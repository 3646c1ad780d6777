// Answers cut into their parts, however they come in pieces.
#include "frontend/parts/answer_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/text/utf8.h"

namespace echelon {
namespace {

std::shared_ptr<const AnswerParts> parts_with(std::string_view syntax, std::optional<bool> open_reasoning = {}) {
  auto parts = std::make_shared<AnswerParts>();
  if (!syntax.empty()) parts->calls = call_syntax(syntax);
  if (open_reasoning) parts->reasoning.emplace().is_open = *open_reasoning;
  for (const char* name : {"get", "get_more"}) parts->tools.push_back({.name = name});
  return parts;
}

/// "reasoning|text|name(arguments)name(arguments)"
std::string shown(const PartsPiece& whole) {
  std::string text = whole.reasoning + "|" + whole.text + "|";
  for (const ToolCallDelta& call : whole.calls) text += call.name + "(" + call.arguments + ")";
  return text;
}

void gather(PartsPiece piece, PartsPiece& whole) {
  whole.reasoning += piece.reasoning;
  whole.text += piece.text;
  for (ToolCallDelta& call : piece.calls) {
    if (!call.name.empty()) {
      EXPECT_EQ(call.index, static_cast<int>(whole.calls.size()));
      whole.calls.push_back(std::move(call));
    } else {
      ASSERT_EQ(call.index + 1, static_cast<int>(whole.calls.size()));
      whole.calls.back().arguments += call.arguments;
    }
  }
}

/// In one piece, byte by byte, and cut at random: always the same.
std::string cut(std::shared_ptr<const AnswerParts> parts, std::string_view text) {
  std::string first;
  std::mt19937 random(11);
  for (int round = 0; round < 12; ++round) {
    AnswerParser parser(parts);
    PartsPiece whole;
    for (size_t at = 0; at < text.size();) {
      const size_t size = round == 0 ? text.size() : round == 1 ? 1 : 1 + random() % 9;
      PartsPiece piece;
      parser.feed(text.substr(at, size), piece);
      gather(std::move(piece), whole);
      at += size;
    }
    PartsPiece last;
    parser.finish(last);
    gather(std::move(last), whole);
    EXPECT_EQ(parser.num_calls(), static_cast<int>(whole.calls.size()));
    if (round == 0) first = shown(whole);
    EXPECT_EQ(shown(whole), first) << "round " << round;
  }
  return first;
}

TEST(AnswerParser, Hermes) {
  const auto parts = parts_with("hermes");
  const std::string call = "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": \"}\\\"{\"}}\n</tool_call>";
  EXPECT_EQ(cut(parts, "just text\n"), "|just text\n|");
  EXPECT_EQ(cut(parts, " \n text"), "| \n text|");
  EXPECT_EQ(cut(parts, call), R"(||get({"a": "}\"{"}))");
  EXPECT_EQ(cut(parts, "I look.\n\n" + call), R"(|I look.|get({"a": "}\"{"}))");
  EXPECT_EQ(cut(parts, "a < b <tool> c"), "|a < b <tool> c|");
  EXPECT_EQ(cut(parts, call + "\n<tool_call>\n{\"name\": \"get_more\", \"arguments\": {}}\n</tool_call>"),
            R"(||get({"a": "}\"{"})get_more({}))");
  EXPECT_EQ(cut(parts, call + "\n" + call + "\n" + call),
            R"(||get({"a": "}\"{"})get({"a": "}\"{"})get({"a": "}\"{"}))");
}

TEST(AnswerParser, WhatIsCutInTheMiddle) {
  const auto parts = parts_with("hermes");
  EXPECT_EQ(cut(parts, "text <tool_"), "|text <tool_|");
  EXPECT_EQ(cut(parts, "text <tool_call>\n{\"name\": \"ge"), "|text <tool_call>\n{\"name\": \"ge|");
  EXPECT_EQ(cut(parts, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": [1, "), "||get({\"a\": [1, )");
  EXPECT_EQ(cut(parts, "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool"), "||get({})");
  EXPECT_EQ(cut(parts, "<tool_call>\n{\"name\": \"get\", \"arguments\": "), "||get()");
}

TEST(AnswerParser, Llama) {
  const auto parts = parts_with("llama3_json");
  EXPECT_EQ(cut(parts, R"({"name": "get", "parameters": {"a": {"b": []}}})"), R"(||get({"a": {"b": []}}))");
  EXPECT_EQ(cut(parts, R"(<|python_tag|>{"name": "get_more", "parameters": {}})"), "||get_more({})");
  EXPECT_EQ(cut(parts, R"({"name": "Ann"})"), R"(|{"name": "Ann"}|)");
  EXPECT_EQ(cut(parts, R"(text {"name": "get", "parameters": {}})"), R"(|text {"name": "get", "parameters": {}}|)");
  EXPECT_EQ(cut(parts, "\n text "), "|\n text |");
}

TEST(AnswerParser, Mistral) {
  EXPECT_EQ(cut(parts_with("mistral"), R"([TOOL_CALLS][{"name": "get", "arguments": {"a": 1}}])"),
            R"(||get({"a": 1}))");
  EXPECT_EQ(cut(parts_with("mistral"),
                R"(so [TOOL_CALLS] [{"name": "get", "arguments": {}}, {"name": "get_more", "arguments": {"a": "b"}}])"),
            R"(|so|get({})get_more({"a": "b"}))");
  EXPECT_EQ(cut(parts_with("mistral_args"), R"([TOOL_CALLS]get_more[ARGS]{"a": 1}[TOOL_CALLS]get[ARGS]{})"),
            R"(||get_more({"a": 1})get({}))");
}

TEST(AnswerParser, Reasoning) {
  const std::string call = "<tool_call>\n{\"name\": \"get\", \"arguments\": {}}\n</tool_call>";
  EXPECT_EQ(cut(parts_with("", false), "<think>\na <b\n\n</think>\n\ntext\n"), "a <b|text\n|");
  EXPECT_EQ(cut(parts_with("", false), "text <think> more"), "|text <think> more|");
  EXPECT_EQ(cut(parts_with("", false), "<thin"), "|<thin|");
  EXPECT_EQ(cut(parts_with("", true), "hm\n</think>\n\ntext"), "hm|text|");
  EXPECT_EQ(cut(parts_with("", true), "hm </thi"), "hm </thi||");
  EXPECT_EQ(cut(parts_with("hermes", true), "a " + call + " b</think>" + call), "a " + call + " b||get({})");
  EXPECT_EQ(cut(parts_with("hermes", false), "\n<think>a</think>\n\nb\n" + call), "a|b|get({})");
  EXPECT_EQ(cut(parts_with("llama3_json", true), R"(a</think> {"name": "get", "parameters": {}})"), "a||get({})");
  EXPECT_EQ(cut(parts_with("llama3_json", true), "a</think> {}"), "a|{}|");
}

}  // namespace
}  // namespace echelon
