// What a model writes, cut into reasoning, text and calls: the same however it comes in pieces.
#include <algorithm>

#include "frontend/parts/answer_parser.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

std::shared_ptr<const AnswerParts> parts_of(unsigned choice) {
  auto parts = std::make_shared<AnswerParts>();
  const auto names = call_syntax_names();
  const size_t syntax = choice % (names.size() + 1);
  if (syntax < names.size()) parts->calls = call_syntax(names[syntax]);
  if ((choice & 32) != 0) parts->reasoning.emplace().is_open = (choice & 64) != 0;
  parts->only_calls = (choice & 128) != 0;
  for (const char* name : {"get", "get_more"}) parts->tools.push_back({.name = name});
  return parts;
}

std::string cut(const std::shared_ptr<const AnswerParts>& parts, std::string_view text, size_t size) {
  AnswerParser parser(parts);
  std::string reasoning, shown, calls;
  int num_calls = 0;
  const auto gather = [&](const PartsPiece& piece) {
    reasoning += piece.reasoning;
    shown += piece.text;
    for (const ToolCallDelta& call : piece.calls) {
      if (!call.name.empty()) expect(call.index == num_calls++, "calls that are out of order");
      expect(call.index == num_calls - 1, "arguments of another call");
      calls += call.name.empty() ? call.arguments : "|" + call.name + "(" + call.arguments;
    }
  };
  for (; !text.empty(); text.remove_prefix(std::min(size, text.size()))) {
    PartsPiece piece;
    parser.feed(text.substr(0, size), piece);
    gather(piece);
  }
  PartsPiece last;
  parser.finish(last);
  gather(last);
  expect(parser.num_calls() == num_calls, "a call that is not told");
  return reasoning + "\x1f" + shown + "\x1f" + calls;
}

void run(std::string_view input) {
  Pieces pieces(input);
  const auto parts = parts_of(pieces.byte());
  const size_t size = 1 + pieces.byte() % 16;
  const std::string whole = cut(parts, pieces.rest(), input.size() + 1);
  expect(whole == cut(parts, pieces.rest(), size), "parts depend on how the text is cut");
  expect(whole == cut(parts, pieces.rest(), 1), "parts depend on how the text is cut");
}

std::vector<std::string> seeds() {
  return {
      "\x20\x03<think>\nwhy</think>\n\nHello <tool_call>\n{\"name\": \"get\", \"arguments\": {\"a\": "
      "\"}\\\"\"}}\n</tool_call>",
      "\x01\x02{\"name\": \"get_more\", \"parameters\": {\"b\": [1, {}]}}",
      "\x02\x01[TOOL_CALLS] [{\"name\": \"get\", \"arguments\": {}}, "
      "{\"name\": \"get_more\", \"arguments\": {\"x\": 1}}]",
      "\x63\x05why</think>[TOOL_CALLS]get[ARGS]{\"a\": 1}", "\x04\x05plain  \n"};
}

const Target target("answer_parser", run, seeds,
                    {"<think>", "</think>", "<tool_call>\n", "\n</tool_call>", "{\"name\": \"get\", \"arguments\": ",
                     "{\"name\": \"get_more\", \"parameters\": ", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[{",
                     "}]", "{}", "\\\"", "\"}", "\n", "  "});

}  // namespace
}  // namespace echelon::fuzzing
