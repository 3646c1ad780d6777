// `echelon chat`: events however their bytes are cut, what is sent, what is shown, and what the conversation keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <random>

#include "kernels/base/error.h"
#include "launch/chat_options.h"
#include "launch/client/event_stream.h"

namespace echelon {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

TEST(EventStream, TheSameHoweverItIsCut) {
  constexpr std::string_view kBody =
      ": keep-alive\n\nevent: a\ndata: {\"a\":\ndata:1}\n\ndata: two\r\n\r\n\n\ndata:\n\ndata: [DONE]\n\ndata: not "
      "whole\n";
  const std::vector<std::string> expected{"{\"a\":\n1}", "two", "", "[DONE]"};
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    EventStream stream;
    std::vector<std::string> events;
    for (size_t at = 0; at < kBody.size();) {
      const size_t size = 1 + random() % (round < 50 ? 3 : 40);
      for (std::string& event : stream.feed(kBody.substr(at, size))) events.push_back(std::move(event));
      at += size;
    }
    ASSERT_EQ(events, expected) << "round " << round;
  }
}

TEST(EventStream, ALineWithoutEndIsRefused) {
  EventStream stream;
  EXPECT_THROW(stream.feed(std::string(EventStream::kMaxLineBytes + 1, 'a')), Error);
}

json::value messages_of(const std::string& body) { return json::parse(body).at("messages"); }

std::string chunk(std::string_view delta) {
  return "{\"choices\":[{\"index\":0,\"delta\":" + std::string(delta) + ",\"finish_reason\":null}]}";
}

TEST(ChatConversation, AnswersBelongToIt) {
  ChatConversation chat({.system = "be brief", .max_tokens = 9, .temperature = 0.5, .seed = 7});
  const json::value body = json::parse(chat.ask("hello"));
  EXPECT_EQ(json::serialize(body),
            R"({"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hello"}],)"
            R"("stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"temperature":5E-1,"seed":7})");
  EXPECT_EQ(chat.take(chunk(R"({"role":"assistant","content":""})")).text, "");
  EXPECT_EQ(chat.take(chunk(R"({"reasoning_content":"hm"})")).reasoning, "hm");
  EXPECT_EQ(chat.take(chunk(R"({"content":"hi "})")).text, "hi ");
  EXPECT_EQ(chat.take(chunk(R"({"content":"there"})")).text, "there");
  EXPECT_EQ(chat.take(R"({"choices":[],"usage":{"completion_tokens":5}})").text, "");
  EXPECT_EQ(chat.take("[DONE]").text, "");
  chat.end();
  EXPECT_EQ(chat.completion_tokens(), 5);
  EXPECT_EQ(json::serialize(messages_of(chat.ask("more")).at(2)), R"({"role":"assistant","content":"hi there"})");
  chat.end();
  EXPECT_EQ(messages_of(chat.ask("again")).as_array().size(), 4u) << "a question without an answer is taken back";
  chat.clear();
  EXPECT_EQ(messages_of(chat.ask("new")).as_array().size(), 2u);
  chat.set_system("be long");
  EXPECT_EQ(messages_of(chat.ask("new")).at(0).at("content"), "be long");
}

TEST(ChatConversation, NothingOfAServerCommandsTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\a\r\n\tc\x7f\xC2\x9B"
                      "1mé😀"),
            "a[31mb\n\tc1mé😀");
  ChatConversation chat({});
  chat.ask("a");
  EXPECT_EQ(chat.take(chunk(R"({"content":"\u001b]0;x\u0007"})")).text, "]0;x");
  for (const char* data : {"", "[]", "{", R"({"error":{"message":"full\u001b"}})"})
    EXPECT_THROW(chat.take(data), Error) << data;
  for (const char* data :
       {"{}", R"({"choices":[]})", R"({"choices":[{"delta":{"content":5}}]})", R"({"choices":{},"usage":7})"})
    EXPECT_EQ(chat.take(data).text, "") << data;
}

TEST(ChatOptions, AreItsOwn) {
  const ChatOptions options =
      parse_chat({"localhost:81", "--system", "s", "--temperature", "0.5", "--seed", "3", "--max-tokens", "8"},
                 {{"ECHELON_MODEL", "served.gguf"}, {"ECHELON_API_KEY", "k"}})
          .options;
  EXPECT_EQ(options.url, "localhost:81");
  EXPECT_EQ(options.settings.system, "s");
  EXPECT_EQ(options.settings.temperature, 0.5);
  EXPECT_EQ(options.settings.seed, 3);
  EXPECT_EQ(options.settings.max_tokens, 8);
  EXPECT_EQ(options.settings.model, "");
  EXPECT_EQ(options.api_key, "k");
  EXPECT_THROW(parse_chat({"u", "--temperature", "3"}, {}), Error);
  EXPECT_THAT(chat_help(), HasSubstr("--system"));
}

}  // namespace
}  // namespace echelon
