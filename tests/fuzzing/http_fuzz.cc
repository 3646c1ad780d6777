// Bytes of a connection, as a client sends them: through a session and every endpoint, to the last byte of its answers.
// The engine answers at once.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>

#include "frontend/api.h"
#include "frontend/http/session.h"
#include "tests/frontend/small_model.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

namespace asio = boost::asio;

/// Gives every choice one token, or a vector, before submit() returns.
class PromptEngine final : public Engine {
 public:
  EngineState state() const override { return EngineState::ready; }
  std::string state_reason() const override { return ""; }
  std::shared_ptr<const ModelInfo> model() const override { return model_; }
  bool is_alive() const override { return true; }
  RequestResult<RequestHandle> submit(Request request, std::shared_ptr<RequestListener> listener) override {
    expect(!request.prompt.empty(), "a request without a prompt");
    expect(!validate(request.sampling, model_->vocab_size), "sampling parameters that no engine takes");
    for (int choice = 0; choice < request.num_choices; ++choice) {
      OutputEvent event{.choice = choice, .finish = FinishReason::length};
      if (request.pooling != Pooling::none) {
        event.pooled.assign(testing::kSmallHidden, 0.5f);
      } else {
        event.tokens.push_back(token(request.sampling));
      }
      if (choice == 0 && request.sampling.num_prompt_logprobs >= 0) {
        for (size_t i = 1; i < request.prompt.size(); ++i)
          event.prompt_logprobs.push_back({.token = request.prompt[i], .logprob = -1, .rank = 1, .top = {}});
      }
      listener->on_output(std::move(event));
    }
    return {boost::system::in_place_value, ++last_};
  }
  void cancel(RequestHandle) override {}
  void stop_choice(RequestHandle, int) override {}
  void reset_prefix_cache() override {}
  EngineMetrics metrics() const override { return {}; }
  std::vector<TracedMicroBatch> pipeline() const override { return {}; }

 private:
  static OutputToken token(const SamplingParams& sampling) {
    OutputToken output{.token = 'x', .logprob = std::nullopt};
    if (sampling.num_logprobs < 0) return output;
    output.logprob = TokenLogprob{.token = 'x', .logprob = -0.5f, .rank = 1, .top = {}};
    for (int i = 0; i < sampling.num_logprobs; ++i)
      output.logprob->top.emplace_back('x' + i, -0.5f - static_cast<float>(i));
    return output;
  }
  const std::shared_ptr<const ModelInfo> model_ = testing::small_model();
  RequestHandle last_ = 0;
};

/// All of a server but its threads and its listener.
struct Served {
  ServerOptions options{.allowed_origins = {"http://a"}};
  HttpMetrics metrics;
  KeyRing keys{{}, ""};
  PromptEngine engine;
  Api api{options, keys, nullptr, engine, metrics};
  ServerState state{options, api, metrics, 1};
};

std::string read_all(int socket) {
  std::string all;
  char bytes[16384];
  for (ssize_t count = 0; (count = ::recv(socket, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
    all.append(bytes, static_cast<size_t>(count));
  return all;
}

void run(std::string_view input) {
  static Served served;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) finding("no socketpair");
  expect(::send(ends[0], input.data(), input.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(input.size()),
         "a short send");
  ::shutdown(ends[0], SHUT_WR);
  std::string answers;
  {
    asio::io_context io(1);
    StreamSocket socket(asio::make_strand(io), asio::generic::stream_protocol(AF_UNIX, 0), ends[1]);
    std::make_shared<Session>(std::move(socket), nullptr, served.state, served.state.admission.admit(""))->start();
    for (int num_waits = 0; !io.stopped() && num_waits < 500;) {
      const size_t num_handled = io.poll(), before = answers.size();
      answers += read_all(ends[0]);
      if (num_handled > 0 || answers.size() > before) continue;
      io.run_one_for(std::chrono::milliseconds(10));
      ++num_waits;
    }
    expect(io.stopped(), "a session that does not end with its client");
  }
  answers += read_all(ends[0]);
  ::close(ends[0]);
  expect(answers.empty() || answers.starts_with("HTTP/1."), "an answer that is none of HTTP's");
  expect(answers.find(" 500 Internal Server Error\r\n") == answers.npos, "an answer of 500");
  expect(served.state.body_bytes.load() == 0, "body bytes that are still counted");
  const std::lock_guard lock(served.state.mutex);
  expect(served.state.sessions.empty(), "a session that is left over");
}

std::string post(std::string_view path, std::string_view body) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}

std::vector<std::string> seeds() {
  return {"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.0\r\n\r\n",
          post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "a"}], "stream": true, "n": 2})"),
          post("/v1/completions", R"({"prompt": [1, 2], "logprobs": 2, "prompt_logprobs": 1, "echo": true})") +
              post("/tokenize", R"({"prompt": "a"})"),
          "POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: "
          "100-continue\r\n\r\n6;x=y\r\n{\"prom\r\nc\r\npt\": \"hello\"}"
          "  \r\n0\r\nTrailer: x\r\n\r\n",
          "OPTIONS * HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nAccess-Control-Request-Method: POST\r\n\r\n",
          "HEAD http://a/metrics?x=%41&y#z HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\nAuthorization: "
          "Bearer k\r\n\r\n",
          "DELETE /v1/files/%2e%2e HTTP/1.1\r\nHost: a\r\nx-api-key: k\r\n\r\n",
          post("/v1/embeddings", R"({"input": ["a", "b"]})"),
          post("/v1/responses", R"({"input": "a", "stream": true})"),
          post("/v1/messages", R"({"max_tokens": 3, "messages": [{"role": "user", "content": "a"}]})")};
}

const Target target("http", run, seeds,
                    {"GET ",
                     "POST ",
                     "HEAD ",
                     "OPTIONS ",
                     " HTTP/1.1\r\n",
                     " HTTP/1.0\r\n",
                     "HTTP/2.0",
                     "Host: a\r\n",
                     "\r\n\r\n",
                     "\r\n ",
                     "Content-Length: ",
                     "Transfer-Encoding: chunked\r\n",
                     "Transfer-Encoding: identity\r\n",
                     "Expect: 100-continue\r\n",
                     "Connection: close\r\n",
                     "Connection: keep-alive\r\n",
                     "Connection: Upgrade\r\n",
                     "Origin: http://a\r\n",
                     "Authorization: Bearer ",
                     "0\r\n\r\n",
                     "ffffffffffffffff\r\n",
                     "/v1/chat/completions",
                     "/v1/completions",
                     "/v1/responses",
                     "/v1/messages",
                     "/v1/embeddings",
                     "/v1/models/",
                     "/v1/files",
                     "/v1/batches",
                     "/tokenize",
                     "/detokenize",
                     "/score",
                     "/rerank",
                     "/health",
                     "/metrics",
                     "/debug/pipeline",

                     "/load",
                     "/version",
                     "/reset_prefix_cache",
                     "/apply-template",
                     "/tokenizer_info",
                     "%2f",
                     "%00",
                     "http://",
                     "*",
                     "?",
                     "\"stream\": true"});

}  // namespace
}  // namespace echelon::fuzzing
