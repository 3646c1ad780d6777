// 600 hostile requests from a fixed seed against the real server: mutated lines, fields, framing and bodies, clients
// that stop or leave. The server must answer 2xx or 4xx (503 by policy), or close; and must be whole afterwards.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "frontend/front_end.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::get_text;
using testing::HttpClient;
using testing::post_text;

constexpr int kNumRequests = 600;

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  size_t below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }
  template <size_t N>
  std::string_view pick(const std::string_view (&list)[N]) {
    return list[below(N)];
  }

  std::string request() {
    switch (below(8)) {
      case 0:
        return line_noise();
      case 1:
        return broken_framing();
      case 2:
        return mutated_bytes(good());
      case 3:
        return good().substr(0, below(good().size()) + 1);
      case 4:
        return post_text(path(), json_bomb());
      default:
        return post_text(path(), strange_body());
    }
  }

 private:
  std::string_view path() {
    static constexpr std::string_view kPaths[] = {"/v1/chat/completions", "/v1/completions", "/v1/messages",
                                                  "/v1/responses",        "/tokenize",       "/detokenize",
                                                  "/v1/embeddings",       "/score",          "/rerank"};
    return pick(kPaths);
  }

  std::string good() {
    return below(2) == 0 ? post_text("/v1/completions", R"({"prompt":[1,2],"max_tokens":3,"stop":["q"],"logprobs":2})")
                         : post_text("/v1/chat/completions",
                                     R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"stream":true})");
  }

  std::string mutated_bytes(std::string text) {
    for (size_t i = 0, count = below(4); i < count; ++i) {  // sometimes none: a good request among the bad
      const size_t at = below(text.size());
      switch (below(3)) {
        case 0:
          text[at] = static_cast<char>(below(256));
          break;
        case 1:
          text.insert(at, std::string(below(40) + 1, static_cast<char>(below(256))));
          break;
        default:
          text.erase(at, below(6) + 1);
      }
    }
    return text;
  }

  std::string line_noise() {
    static constexpr std::string_view kLines[] = {"GET",
                                                  "GET /",
                                                  "GET / HTTP/9.9",
                                                  "GET  / HTTP/1.1",
                                                  "GET /\t HTTP/1.1",
                                                  " GET / HTTP/1.1",
                                                  "G\x01T / HTTP/1.1",
                                                  "GET /%zz HTTP/1.1",
                                                  "GET /v1/models/%00%ff HTTP/1.1",
                                                  "GET http://a/version HTTP/1.1",
                                                  "GET ftp://a/version HTTP/1.1",
                                                  "OPTIONS * HTTP/1.1",
                                                  "CONNECT a:80 HTTP/1.1",
                                                  "PRI * HTTP/2.0",
                                                  "GET /../../etc/passwd HTTP/1.1",
                                                  "POST /v1/completions HTTP/1.1",
                                                  "TRACE / HTTP/1.1",
                                                  "GET / HTTP/1.1 x",
                                                  "GET /?\xff\xfe HTTP/1.1",
                                                  "\x16\x03\x01\x02",
                                                  "GET / http/1.1",
                                                  "HEAD /health HTTP/1.0"};
    static constexpr std::string_view kFields[] = {"Host: a",
                                                   "Host: a\r\nHost: a",
                                                   "X",
                                                   ": a",
                                                   "X : a",
                                                   "X: \x01\x02",
                                                   " folded: a",
                                                   "Host:",
                                                   "X: a\nY: b",
                                                   "Content-Length: 1",
                                                   "Connection: upgrade\r\nUpgrade: h2c",
                                                   "Expect: 100-continue",
                                                   "Range: bytes=0-5",
                                                   "Authorization: Bearer \xff\xff",
                                                   "X: a\r\n continued"};
    std::string text = std::string(pick(kLines)) + "\r\n";
    for (size_t i = 0, count = below(4); i < count; ++i) text += std::string(pick(kFields)) + "\r\n";
    return text + "\r\n";
  }

  std::string broken_framing() {
    static constexpr std::string_view kFields[] = {"Transfer-Encoding: chunked",
                                                   "Transfer-Encoding: gzip",
                                                   "Transfer-Encoding: chunked, gzip",
                                                   "Transfer-Encoding:\tchunked",
                                                   "Content-Length: 3",
                                                   "Content-Length: 0",
                                                   "Content-Length: 18446744073709551616",
                                                   "Content-Length: 40000000",
                                                   "Content-Length: -1",
                                                   "Content-Length: 3 3",
                                                   "Host: a",
                                                   "Host: a"};
    static constexpr std::string_view kBodies[] = {"",
                                                   "abc",
                                                   "3\r\nabc\r\n0\r\n\r\n",
                                                   "3\r\nabcd\r\n0\r\n\r\n",
                                                   "ffffffffffffffffff\r\n",
                                                   "-1\r\n\r\n",
                                                   "zz\r\n",
                                                   "3;ext=\"\r\nabc\r\n0\r\n\r\n",
                                                   "0\r\nContent-Length: 5\r\n\r\n",
                                                   "0\r\n\r\nGET /version HTTP/1.1\r\n\r\n",
                                                   "3\nabc\n0\n\n"};
    std::string text = fmt::format("POST {} HTTP/1.{}\r\nHost: a\r\n", path(), below(2));
    for (size_t i = 0, count = below(3) + 1; i < count; ++i) text += std::string(pick(kFields)) + "\r\n";
    return text + "\r\n" + std::string(pick(kBodies));
  }

  std::string json_bomb() {
    switch (below(4)) {
      case 0:
        return std::string(below(5000) + 1, '[');
      case 1: {
        std::string text = "{\"prompt\":";
        for (int i = 0; i < 200; ++i) text += "{\"a\":";
        return text;
      }
      case 2: {
        std::string text = R"({"prompt":[)";
        for (size_t i = 0; i < 20000; ++i) text += "[],";
        return text + "[]]}";
      }
      default:
        return R"({"prompt":")" + std::string(100000, 'a') + "\"}";
    }
  }

  std::string value() {
    static constexpr std::string_view kValues[] = {
        "1e999",
        "-1e999",
        "1e-999",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "0.1",
        "-0",
        "true",
        "null",
        "[]",
        "{}",
        "\"\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"\xff\"",
        "\"\xc3\x28\"",
        "[null]",
        "[[[[[[1]]]]]]",
        "{\"type\":\"text\"}",
        "[\"a\",1]",
        "[-1]",
        "[4294967296]",
        "NaN",
        "Infinity",
        "'a'",
        "01",
        "\"a",
        "[1,]",
        "[{\"role\":\"user\",\"content\":\"a\"}]",
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"}]}]",
        "[{\"role\":[],\"content\":{}}]",
        "[{}]",
        "2147483648",
        "16",
        "\"hello\""};
    return std::string(pick(kValues));
  }

  std::string strange_body() {
    static constexpr std::string_view kNames[] = {"prompt",
                                                  "messages",
                                                  "model",
                                                  "max_tokens",
                                                  "max_completion_tokens",
                                                  "temperature",
                                                  "top_p",
                                                  "top_k",
                                                  "min_p",
                                                  "n",
                                                  "stop",
                                                  "stop_token_ids",
                                                  "seed",
                                                  "presence_penalty",
                                                  "frequency_penalty",
                                                  "repetition_penalty",
                                                  "logprobs",
                                                  "top_logprobs",
                                                  "system",
                                                  "stop_sequences",
                                                  "input",
                                                  "instructions",
                                                  "text",
                                                  "include",
                                                  "reasoning",
                                                  "metadata",
                                                  "allowed_token_ids",
                                                  "bad_words",
                                                  "truncate_prompt_tokens",
                                                  "long_input",
                                                  "stream",
                                                  "stream_options",
                                                  "ignore_eos",
                                                  "min_tokens",
                                                  "priority",
                                                  "echo",
                                                  "tools",
                                                  "response_format",
                                                  "logit_bias",
                                                  "best_of",
                                                  "chat_template_kwargs",
                                                  "continue_final_message",
                                                  "add_generation_prompt",
                                                  "tokens",
                                                  "return_token_ids",
                                                  "user",
                                                  "\\u0000",
                                                  "\xff",
                                                  ""};
    std::string text = "{";
    if (below(2) == 0) text += R"("prompt":"x","max_tokens":2,)";
    if (below(3) == 0) text += R"("messages":[{"role":"user","content":"x"}],)";
    for (size_t i = 0, count = below(3) + 1; i < count; ++i)
      text += fmt::format("{}\"{}\":{}", i > 0 ? "," : "", pick(kNames), value());
    return text + "}";
  }

  std::mt19937_64 random_;
};

/// Statuses of the answers to one hostile request; the connection may be closed at any point.
std::vector<int> send_and_listen(uint16_t port, const std::string& text, size_t manner) {
  std::vector<int> statuses;
  HttpClient client(port);
  if (manner == 0) {  // slow bytes, then gone
    const size_t shown = std::min<size_t>(text.size(), 20);
    for (size_t i = 0; i < shown; ++i) {
      if (!client.send(text.substr(i, 1))) break;
      std::this_thread::sleep_for(1ms);
    }
    return statuses;
  }
  client.send(text);
  if (manner == 1) return statuses;  // leaves without listening
  for (int i = 0; i < 8; ++i) {
    const auto response = client.response(text.starts_with("HEAD"));
    if (!response) break;
    statuses.push_back(response->status);
    EXPECT_TRUE(response->status < 400 || response->body.size() < 2000 || response->status == 200) << response->body;
    if (response->status >= 400 && !text.starts_with("HEAD")) {
      EXPECT_FALSE(response->json().at("error").at("message").as_string().empty());
    }
    if (!response->keep_alive) break;
  }
  return statuses;
}

TEST(Hostile, SixHundredRequestsAreAnsweredOrRefused) {
  testing::ScriptEngine engine;
  ServerOptions options;
  options.port = 0;
  options.header_timeout = options.body_timeout = options.idle_timeout = 60ms;
  options.linger_timeout = 100ms;
  FrontEnd front(options, engine);
  front.start();

  std::array<std::atomic<int>, 6> by_class{};
  constexpr int kNumThreads = 6;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kNumThreads; ++thread) {
    threads.emplace_back([&, thread] {
      Mutator mutator(static_cast<uint64_t>(thread) + 1);
      for (int i = 0; i < kNumRequests / kNumThreads; ++i) {
        const std::string text = mutator.request();
        for (const int status : send_and_listen(front.port(), text, mutator.below(10))) {
          EXPECT_TRUE(status < 500 || status == 503) << status << " for:\n" << text.substr(0, 600);
          by_class[static_cast<size_t>(status / 100)]++;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();

  EXPECT_GT(by_class[2].load(), 20) << "some mutations are harmless";
  EXPECT_GT(by_class[4].load(), 200);
  const auto after = testing::ask(front.port(), post_text("/v1/completions", R"({"prompt":[7],"max_tokens":5})"));
  EXPECT_EQ(after.json().at("choices").at(0).at("text"), testing::scripted_json({7}, 0, 5));
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while ((engine.num_running() > 0 || front.http_metrics().connections.load() > 0) &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(1ms);
  EXPECT_EQ(engine.num_running(), 0);
  EXPECT_EQ(front.http_metrics().connections.load(), 0);
}

}  // namespace
}  // namespace echelon
