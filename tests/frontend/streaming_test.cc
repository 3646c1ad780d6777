// Streams over the real server: the order of events, clients that leave or read slowly, comments, many at once.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "frontend/front_end.h"
#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
namespace json = boost::json;
using testing::becomes_true;
using testing::get_text;
using testing::HttpClient;
using testing::post_text;
using testing::scripted_text;
using testing::ScriptEngine;
using testing::stream_data;

class Streaming : public testing::FrontEndTest {};

std::string text_of(const std::vector<std::string>& data) {
  std::string text;
  for (const auto& one : data) {
    if (one == "[DONE]") continue;
    const json::value chunk = json::parse(one);
    for (const auto& choice : chunk.at("choices").as_array()) text += choice.at("text").as_string();
  }
  return text;
}

TEST_F(Streaming, EventsArriveInOrderAndTheConnectionStaysUsable) {
  start();
  HttpClient client(port_);
  for (int i = 0; i < 3; ++i) {
    client.send(post_text("/v1/completions", fmt::format(R"({{"prompt":[{}],"max_tokens":40,"stream":true}})", i)));
    const auto response = client.response();
    ASSERT_TRUE(response);
    EXPECT_EQ(response->status, 200);
    EXPECT_TRUE(response->field("Content-Type").starts_with("text/event-stream"));
    const auto data = stream_data(response->body);
    EXPECT_EQ(data.size(), 41u) << "a chunk a token, and [DONE]";
    EXPECT_EQ(data.back(), "[DONE]");
    EXPECT_EQ(text_of(data), scripted_text({i}, 0, 40));
    EXPECT_TRUE(response->keep_alive);
  }
  EXPECT_EQ(engine_.num_cancelled, 0);
}

TEST_F(Streaming, AClientThatLeavesIsCancelled) {
  engine_.token_delay_us = 1000;
  start();
  for (const bool streams : {true, false}) {
    const int cancelled_before = engine_.num_cancelled;
    HttpClient client(port_);
    client.send(post_text("/v1/chat/completions",
                          fmt::format(R"({{"messages":[{{"role":"user","content":"a"}}],"stream":{}}})", streams)));
    ASSERT_TRUE(becomes_true([&] { return engine_.num_running() == 1; }));
    if (streams) {
      ASSERT_TRUE(client.wait_for("data: "));
    }
    client.leave();
    EXPECT_TRUE(becomes_true([&] { return engine_.num_cancelled == cancelled_before + 1; })) << "stream: " << streams;
    EXPECT_EQ(engine_.num_running(), 0);
  }
  EXPECT_TRUE(becomes_true([&] { return front_->http_metrics().clients_left.load() == 2; }));
  EXPECT_TRUE(becomes_true([&] { return front_->http_metrics().connections.load() == 0; }));
}

TEST_F(Streaming, AClientThatLeavesWhenItsAnswerEndsIsNotWaitedFor) {
  engine_.token_delay_us = 50;
  ServerOptions options;
  options.idle_timeout = 1h;
  start(options);
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    HttpClient client(port_);
    client.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":2})"));
    const auto leaves = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 500);
    while (std::chrono::steady_clock::now() < leaves) {
    }
    client.end_sending();
    ASSERT_NO_THROW(client.rest()) << "client " << i;  // to the end of the connection
  }
  EXPECT_TRUE(becomes_true([&] { return front_->http_metrics().connections.load() == 0; }));
}

TEST_F(Streaming, AStoppedChoiceIsStoppedInTheEngine) {
  engine_.fixed_tokens = {'a', 'b', 'S', 'T', 'c'};
  engine_.token_delay_us = 500;
  start();
  const auto response = testing::ask(
      port_, post_text("/v1/completions", R"({"prompt":[5],"max_tokens":4000,"stop":"ST","stream":true})"));
  EXPECT_EQ(text_of(stream_data(response.body)), "ab");
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 0; }));
  EXPECT_EQ(engine_.num_choices_stopped, 1);
}

TEST_F(Streaming, ASlowReaderIsCutOffAndOthersAreNot) {
  ServerOptions options;
  options.stream_buffer_bytes = 64 << 10;
  options.socket_send_bytes = 8 << 10;
  start(options);
  HttpClient slow(port_, 4096);
  slow.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":4000,"logprobs":5,"stream":true})"));
  EXPECT_TRUE(becomes_true([&] { return front_->http_metrics().slow_readers_cut.load() == 1; }));
  EXPECT_EQ(engine_.num_running(), 0);
  HttpClient quick(port_);
  quick.send(post_text("/v1/completions", R"({"prompt":[6],"max_tokens":200,"stream":true})"));
  EXPECT_EQ(text_of(stream_data(quick.response()->body)), scripted_text({6}, 0, 200));
}

TEST_F(Streaming, AnEndThatRepeatsTheAnswerCutsNobodyOff) {
  ServerOptions options;
  options.stream_buffer_bytes = 8 << 10;
  engine_.tokens_per_event = 60;  // all at once: no reader can be behind
  start(options);
  const auto response = testing::ask(
      port_, post_text("/v1/responses", R"({"input":"a","max_output_tokens":60,"stream":true,"top_logprobs":5,
                                            "include":["message.output_text.logprobs"]})"));
  const size_t last = response.body.find("event: response.output_text.done");
  ASSERT_NE(last, std::string::npos);
  EXPECT_GT(response.body.size() - last, options.stream_buffer_bytes);
  EXPECT_NE(response.body.find("event: response.incomplete"), std::string::npos);
  EXPECT_EQ(front_->http_metrics().slow_readers_cut.load(), 0u);
}

TEST_F(Streaming, AStreamOfAResponseBeginsBeforeItsFirstToken) {
  engine_.paused = true;
  start();
  HttpClient client(port_);
  client.send(post_text("/v1/responses", R"({"input":"a","max_output_tokens":4,"stream":true})"));
  ASSERT_TRUE(client.wait_for("event: response.in_progress"));
  EXPECT_EQ(client.received().find("response.output_item.added"), std::string::npos);
  engine_.paused = false;
  ASSERT_TRUE(client.wait_for("event: response.incomplete"));
}

TEST_F(Streaming, ASilentStreamGetsComments) {
  ServerOptions options;
  options.comment_period = 20ms;
  engine_.paused = true;
  start(options);
  HttpClient client(port_);
  client.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":4,"stream":true})"));
  ASSERT_TRUE(client.wait_for(": keep-alive\n\n"));
  engine_.paused = false;
  EXPECT_EQ(text_of(stream_data(client.response()->body)), scripted_text({5}, 0, 4));
}

/// A line of an event: a name of ours, or one JSON value.
void check_line(std::string_view line) {
  if (line.empty() || line == "data: [DONE]") return;
  if (line.starts_with("event: ")) {
    EXPECT_EQ(line.find_first_not_of("abcdefghijklmnopqrstuvwxyz_.", 7), std::string_view::npos) << line;
    return;
  }
  ASSERT_TRUE(line.starts_with("data: ")) << line;
  boost::system::error_code error;
  json::parse(line.substr(6), error);
  EXPECT_FALSE(error) << line;
}

TEST_F(Streaming, EventsAreLinesOfJsonWhateverTheText) {
  for (const std::string_view text :
       {std::string_view("\n\n"), std::string_view("\r\n\r\r\n"), std::string_view("\0\x1b\x7f\b\f", 5),
        std::string_view("data: [DONE]\n\ndata: {}\n\nevent: x\n: y\nid: 1\nretry: 1\n"), std::string_view("\"\\\\n\\"),
        std::string_view("\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\xef\xbb\xbf"),
        std::string_view("\xff\xed\xa0\x80\xc0\x8a\xe2\x80")}) {
    for (const char c : text) engine_.fixed_tokens.push_back(static_cast<unsigned char>(c));
  }
  start();
  constexpr std::string_view kChat = R"("messages":[{"role":"user","content":"a"}],"max_tokens":300,"stream":true})";
  const std::pair<const char*, std::string> requests[] = {
      {"/v1/completions", R"({"prompt":"a","max_tokens":300,"stream":true,"logprobs":3,"echo":true})"},
      {"/v1/completions", R"({"prompt":"\r\n\u0000\u2028","max_tokens":300,"stream":true,"echo":true,"stop":"\n: "})"},
      {"/v1/chat/completions", "{" + std::string(kChat)},
      {"/v1/chat/completions", R"({"logprobs":true,"top_logprobs":3,)" + std::string(kChat)},
      {"/v1/messages", R"({"model":"small",)" + std::string(kChat)},
      {"/v1/responses", R"({"input":"a","max_output_tokens":300,"stream":true})"}};
  for (const auto& [path, body] : requests) {
    SCOPED_TRACE(path);
    const auto response = testing::ask(port_, post_text(path, body));
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.body.find('\r'), std::string::npos);
    EXPECT_GT(response.body.size(), 2000u);
    for (size_t begin = 0; begin < response.body.size();) {
      const size_t end = response.body.find('\n', begin);
      ASSERT_NE(end, std::string::npos);
      check_line(std::string_view(response.body).substr(begin, end - begin));
      begin = end + 1;
    }
  }
}

TEST_F(Streaming, AFailureEndsTheStreamWithAnErrorEvent) {
  engine_.fail_after = 3;
  start();
  const auto response =
      testing::ask(port_, post_text("/v1/completions", R"({"prompt":[5],"max_tokens":9,"stream":true})"));
  const auto data = stream_data(response.body);
  ASSERT_EQ(data.size(), 5u);
  EXPECT_EQ(json::parse(data[3]).at("error").at("code"), "internal_error");
  EXPECT_EQ(data[3].find("secret"), std::string::npos);
  EXPECT_EQ(data.back(), "[DONE]");
}

TEST_F(Streaming, TwentyFourStreamsWithSomeThatLeave) {
  engine_.token_delay_us = 200;
  start();
  constexpr int kNumStreams = 24, kNumTokens = 150;
  std::vector<std::string> texts(kNumStreams);
  std::vector<std::thread> threads;
  for (int i = 0; i < kNumStreams; ++i) {
    threads.emplace_back([&, i] {
      HttpClient client(port_);
      client.send(post_text("/v1/completions",
                            fmt::format(R"({{"prompt":[{}],"n":2,"max_tokens":{},"stream":true}})", i, kNumTokens)));
      if (i % 4 == 3) {
        client.wait_for("data: ");
        return;
      }
      std::string text[2];
      for (const auto& one : stream_data(client.response()->body)) {
        if (one == "[DONE]") continue;
        const auto chunk = json::parse(one);
        const auto& choice = chunk.at("choices").at(0);
        text[choice.at("index").as_int64()] += choice.at("text").as_string();
      }
      texts[static_cast<size_t>(i)] = text[0] + "|" + text[1];
    });
  }
  for (auto& thread : threads) thread.join();
  for (int i = 0; i < kNumStreams; ++i) {
    if (i % 4 == 3) continue;
    EXPECT_EQ(texts[static_cast<size_t>(i)],
              scripted_text({i}, 0, kNumTokens) + "|" + scripted_text({i}, 1, kNumTokens));
  }
  EXPECT_TRUE(becomes_true([&] { return engine_.num_running() == 0; }));
}

}  // namespace
}  // namespace echelon
