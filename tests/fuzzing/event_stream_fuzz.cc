// A server's stream of events, as `echelon chat` and `echelon bench` read it, in pieces of any size.
#include <algorithm>

#include "engine/text/utf8.h"
#include "kernels/base/error.h"
#include "launch/bench/load.h"
#include "launch/chat/conversation.h"
#include "launch/client/event_stream.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

std::vector<std::string> events_of(std::string_view text, size_t size) {
  EventStream stream;
  std::vector<std::string> all;
  for (; !text.empty(); text.remove_prefix(std::min(size, text.size()))) {
    for (std::string& event : stream.feed(text.substr(0, size))) all.push_back(std::move(event));
  }
  return all;
}

void expect_printable(std::string_view text) {
  const bool commands = std::any_of(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t') || c == 0x7f;
  });
  expect(!commands, "a server's text commands the terminal");
}

void run(std::string_view input) {
  Pieces pieces(input);
  const size_t size = 1 + pieces.byte();
  const std::vector<std::string> events = events_of(pieces.rest(), size);
  expect(events == events_of(pieces.rest(), input.size() + 1), "events depend on how the bytes are cut");
  SampleReader sample;
  for (const std::string& event : events) sample.take(event, 1.0);
  ChatConversation conversation({});
  conversation.ask("a");
  try {
    for (const std::string& event : events) {
      const ChatConversation::Shown shown = conversation.take(event);
      expect_printable(shown.reasoning);
      expect_printable(shown.text);
    }
  } catch (const Error&) {
  }
  conversation.end();
  conversation.ask("b");
}

std::vector<std::string> seeds() {
  return {
      "\x07"
      "data: {\"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\", \"content\": \"Hi\"}, "
      "\"finish_reason\": null}]}\n\n"
      "data: {\"choices\": [{\"delta\": {\"reasoning\": \"r\"}, \"finish_reason\": \"stop\"}], \"usage\": "
      "{\"prompt_tokens\": 3, "
      "\"completion_tokens\": 2}}\n\ndata: [DONE]\n\n",
      "\x01: comment\r\nevent: x\r\ndata: {\"error\": {\"message\": \"no\"}}\r\ndata:{\r\n\r\n",
      "\x40"
      "data: {\"choices\": [{\"text\": \"a\\u001b[2J\"}]}\n\n"};
}

const Target target("event_stream", run, seeds,
                    {"data: ",
                     "data:",
                     "\n\n",
                     "\r\n\r\n",
                     ": ",
                     "event: ",
                     "[DONE]",
                     "\"choices\"",
                     "\"delta\"",
                     "\"content\"",
                     "\"reasoning\"",
                     "\"reasoning_content\"",
                     "\"finish_reason\"",
                     "\"usage\"",
                     "\"completion_tokens\"",
                     "\"error\"",
                     "\"message\"",
                     "\"text\"",
                     "\\u001b",
                     "\\u009b",
                     "\xc2\x9b",
                     "null",
                     "1e308",
                     "{}",
                     "[]"});

}  // namespace
}  // namespace echelon::fuzzing
