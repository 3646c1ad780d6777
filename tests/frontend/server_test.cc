// The real server on loopback with a scripted engine: endpoints, keys, framing, keep-alive, pipelining, loading and
// draining.
#include <gtest/gtest.h>

#include <thread>

#include "engine/text/utf8.h"
#include "frontend/front_end.h"
#include "frontend/http/framing.h"
#include "kernels/base/error.h"
#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::ask;
using testing::becomes_true;
using testing::get_text;
using testing::HttpClient;
using testing::post_text;
using testing::scripted_json;
using testing::ScriptEngine;

class Server : public testing::FrontEndTest {};

std::string error_code(const testing::ClientResponse& response) {
  const auto body = response.json();
  const auto& code = body.at("error").at("code");
  return code.is_null() ? std::string() : std::string(code.as_string());
}

TEST_F(Server, AnswersTheSmallEndpoints) {
  start();
  const auto models = ask(port_, get_text("/v1/models"));
  EXPECT_EQ(models.status, 200);
  EXPECT_EQ(models.json().at("data").at(0).at("root"), "/models/small.gguf");
  EXPECT_EQ(models.json().at("data").at(0).at("max_model_len"), 4096);
  EXPECT_EQ(ask(port_, get_text("/v1/models/small")).json().at("id"), "small");
  EXPECT_EQ(ask(port_, get_text("/v1/models/sm%61ll?x=1")).status, 200);
  EXPECT_EQ(error_code(ask(port_, get_text("/v1/models/a/b"))), "model_not_found");
  for (const auto* path : {"/health", "/health/ready", "/health/live", "/version", "/metrics"})
    EXPECT_EQ(ask(port_, get_text(path)).status, 200) << path;
  EXPECT_NE(ask(port_, get_text("/metrics")).body.find("vllm:num_requests_running"), std::string::npos);
  EXPECT_EQ(ask(port_, get_text("/debug/pipeline")).json(),
            boost::json::parse(R"({"micro_batches":[{"replica":0,"number":7,"rows":3,"stages":[[0.5,0.25]]}]})"));
  EXPECT_EQ(ask(port_, post_text("/tokenize", R"({"prompt":"ab"})")).json().at("count"), 2);
  EXPECT_EQ(ask(port_, post_text("/detokenize", R"({"tokens":[97,98]})")).json().at("prompt"), "ab");
  ASSERT_TRUE(becomes_true([&] { return front_->http_metrics().in_flight.load() == 0; })) << "their sessions end, too";
  EXPECT_EQ(ask(port_, get_text("/load")).json().at("server_load"), 0);
  const auto info = ask(port_, get_text("/tokenizer_info")).json();
  EXPECT_EQ(info.at("eos_token"), "<|im_end|>");
  EXPECT_EQ(info.at("bos_token"), "<s>");
  EXPECT_TRUE(info.at("pad_token").is_null());
  EXPECT_TRUE(info.at("chat_template").as_string().starts_with("{% for"));
  const auto* conversation = R"({"messages":[{"role":"user","content":"hi"}]})";
  EXPECT_EQ(ask(port_, post_text("/apply-template", conversation)).json().at("prompt"),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(ask(port_, post_text("/apply-template", R"({"messages":[],"temperature":1})")).status, 400);
  EXPECT_FALSE(ask(port_, get_text("/version")).field("x-request-id").empty());
}

TEST_F(Server, RefusalsBeforeTheBodyIsReadHaveTheShapeOfTheirEndpoint) {
  ServerOptions options;
  options.body_bytes = 10;
  start(options);
  const auto openai = ask(port_, post_text("/v1/completions", R"({"prompt":"hello"})"));
  EXPECT_EQ(openai.status, 413);
  EXPECT_EQ(error_code(openai), "body_too_large");
  const auto anthropic = ask(port_, post_text("/v1/messages", R"({"messages":[]})"));
  EXPECT_EQ(anthropic.status, 413);
  EXPECT_EQ(anthropic.json().at("type"), "error");
  EXPECT_EQ(anthropic.json().at("error").at("type"), "request_too_large");
}

TEST_F(Server, AClientsOwnWordsAreCharactersInOurAnswers) {
  start();
  std::string name = "/v1/models/x";  // so that the cut is inside of a character
  for (int i = 0; i < 40; ++i) name += "%F0%9D%95%8B";
  EXPECT_TRUE(is_valid_utf8(ask(port_, get_text(name)).body));
  EXPECT_TRUE(is_valid_utf8(ask(port_, get_text("/v1/models/%FF%FE")).body));
}

TEST_F(Server, WrongPathsAndMethodsGetOpenAisErrors) {
  start();
  EXPECT_EQ(ask(port_, get_text("/nothing")).status, 404);
  const auto wrong = ask(port_, get_text("/v1/completions"));
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.field("Allow"), "POST, OPTIONS");
  EXPECT_EQ(error_code(wrong), "method_not_allowed");
  EXPECT_EQ(ask(port_, "BREW /health HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
  const auto options = ask(port_, "OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.field("Allow"), "GET, HEAD, OPTIONS");
  HttpClient client(port_);
  client.send("HEAD /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" + get_text("/version"));
  const auto head = client.response(true);
  EXPECT_TRUE(head->body.empty());
  EXPECT_GT(std::stoi(head->field("Content-Length")), 10);
  EXPECT_EQ(client.response()->status, 200);
}

TEST_F(Server, KeysAreAskedForWhereTheModelIsReached) {
  ServerOptions options;
  options.api_keys = {"first-key", "second"};
  start(options);
  for (const auto* fields : {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer \r\n",
                             "Authorization: Basic second\r\n", "Authorization: Bearer secondsecond\r\n"}) {
    const auto response = ask(port_, get_text("/v1/models", fields));
    EXPECT_EQ(response.status, 401) << fields;
    EXPECT_EQ(error_code(response), "invalid_api_key");
    EXPECT_EQ(ask(port_, post_text("/tokenize", R"({"prompt":"a"})", fields)).status, 401);
  }
  for (const auto* path : {"/v1/unknown", "/", "/nothing", "/load", "/tokenizer_info"})
    EXPECT_EQ(ask(port_, get_text(path)).status, 401) << path;
  EXPECT_EQ(ask(port_, get_text("/v1/models", "Authorization: Bearer second\r\n")).status, 200);
  EXPECT_EQ(ask(port_, get_text("/v1/models", "authorization: bearer first-key\r\n")).status, 200);
  EXPECT_EQ(ask(port_, get_text("/v1/models", "x-api-key: second\r\n")).status, 200)
      << "as Anthropic's clients send it";
  EXPECT_EQ(ask(port_, get_text("/v1/models", "X-API-Key: wrong\r\n")).status, 401);
  EXPECT_EQ(ask(port_, get_text("/v1/models", "Authorization: Bearer wrong\r\nx-api-key: second\r\n")).status, 401);
  for (const auto* path : {"/health", "/version", "/metrics"}) EXPECT_EQ(ask(port_, get_text(path)).status, 200);
}

TEST_F(Server, MessagesAreAnsweredAndRefusedInAnthropicsShapes) {
  ServerOptions options;
  options.api_keys = {"key"};
  start(options);
  const auto send = [&](const char* path, std::string_view body, const char* fields = "x-api-key: key\r\n") {
    return ask(port_, post_text(path, std::string(body), fields));
  };
  constexpr std::string_view kBody = R"({"model":"small","max_tokens":3,"messages":[{"role":"user","content":"a"}]})";
  const auto answer = send("/v1/messages", kBody);
  EXPECT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json().at("type"), "message");
  EXPECT_TRUE(answer.json().at("id").as_string().starts_with("msg_"));
  EXPECT_GT(send("/v1/messages/count_tokens", R"({"model":"small","messages":[{"role":"user","content":"a"}]})")
                .json()
                .at("input_tokens")
                .to_number<int>(),
            5);
  const auto type_of = [](const auto& response) {
    EXPECT_EQ(response.json().at("type"), "error");
    return std::string(response.json().at("error").at("type").as_string());
  };
  EXPECT_EQ(type_of(send("/v1/messages", kBody, "")), "authentication_error");
  EXPECT_EQ(type_of(send("/v1/messages", "{")), "invalid_request_error");
  EXPECT_EQ(type_of(send("/v1/messages", R"({"model":"b","max_tokens":3,"messages":[]})")), "not_found_error");
  EXPECT_EQ(type_of(ask(port_, get_text("/v1/messages", "x-api-key: key\r\n"))), "invalid_request_error") << "405";
}

TEST_F(Server, ResponsesAreAnsweredWholeAndStreamed) {
  start();
  const auto whole = ask(port_, post_text("/v1/responses", R"({"input":"a","max_output_tokens":3})"));
  EXPECT_EQ(whole.status, 200) << whole.body;
  EXPECT_TRUE(whole.json().at("id").as_string().starts_with("resp_"));
  const auto text = whole.json().at("output").at(0).at("content").at(0).at("text");
  EXPECT_EQ(text, scripted_json(engine_.last_request().prompt, 0, 3));
  const auto stream = ask(port_, post_text("/v1/responses", R"({"input":"a","max_output_tokens":3,"stream":true})"));
  EXPECT_TRUE(stream.field("Content-Type").starts_with("text/event-stream"));
  EXPECT_TRUE(stream.body.starts_with("event: response.created\ndata: ")) << stream.body;
  const size_t last = stream.body.rfind("event: response.incomplete\ndata: ");
  ASSERT_NE(last, std::string::npos) << stream.body;
  const auto end = boost::json::parse(stream.body.substr(stream.body.find("data: ", last) + 6));
  EXPECT_EQ(end.at("response").at("output").at(0).at("content").at(0).at("text"), text);
  EXPECT_EQ(stream.body.find("[DONE]"), std::string::npos);
  const auto refused = ask(port_, post_text("/v1/responses", R"({"input":"a","previous_response_id":"resp_1"})"));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(error_code(refused), "unsupported_parameter");
}

TEST_F(Server, AKeyIsATenantWhateverUserItNames) {
  ServerOptions options;
  options.api_keys = {"first-key", "second"};
  start(options);
  const auto sent = [&](const char* key, const std::string& members) {
    const std::string body = R"({"prompt":"a","max_tokens":1)" + members + "}";
    const std::string field = std::string("Authorization: Bearer ") + key + "\r\n";
    EXPECT_EQ(ask(port_, post_text("/v1/completions", body, field.c_str())).status, 200);
    return engine_.last_request();
  };
  const Request first = sent("first-key", R"(,"user":"a")"), again = sent("first-key", R"(,"user":"b")");
  const Request second = sent("second", R"(,"user":"a")"), salted = sent("first-key", R"(,"cache_salt":"s")");
  EXPECT_EQ(first.tenant, "key 1");
  EXPECT_EQ(again.tenant, "key 1");
  EXPECT_EQ(second.tenant, "key 2");
  EXPECT_EQ(first.cache_salt, again.cache_salt);
  EXPECT_NE(first.cache_salt, second.cache_salt) << "keys share no prefixes";
  EXPECT_NE(first.cache_salt, salted.cache_salt);
  front_.reset();
  options.prefix_cache_per_key = false;
  start(options);
  EXPECT_EQ(sent("first-key", "").cache_salt, sent("second", "").cache_salt);
}

TEST_F(Server, CorsIsOffUnlessAllowed) {
  start();
  EXPECT_EQ(ask(port_, get_text("/version", "Origin: http://a\r\n")).field("Access-Control-Allow-Origin"), "");
  front_.reset();
  ServerOptions options;
  options.allowed_origins = {"http://a"};
  start(options);
  EXPECT_EQ(ask(port_, get_text("/version", "Origin: http://a\r\n")).field("Access-Control-Allow-Origin"), "http://a");
  EXPECT_EQ(ask(port_, get_text("/version", "Origin: http://b\r\n")).field("Access-Control-Allow-Origin"), "");
  EXPECT_EQ(ask(port_, get_text("/version", "Origin: http://a\r\n")).field("Access-Control-Expose-Headers"), "*");
}

TEST_F(Server, AnswersACompletionAndAChat) {
  start();
  const auto completion = ask(port_, post_text("/v1/completions", R"({"prompt":[5,6],"max_tokens":8,"seed":-3})"));
  ASSERT_EQ(completion.status, 200) << completion.body;
  EXPECT_EQ(completion.json().at("choices").at(0).at("text"), scripted_json({5, 6}, 0, 8));
  EXPECT_EQ(completion.json().at("seed"), -3);
  const auto named =
      ask(port_, post_text("/v1/completions", R"({"prompt":[5,6],"max_tokens":1,"request_id":"mine:7"})"));
  EXPECT_EQ(named.json().at("id"), "cmpl-mine:7");
  EXPECT_EQ(completion.json().at("usage").at("total_tokens"), 10);
  engine_.end_after = 5;
  const auto chat = ask(port_, post_text("/v1/chat/completions", R"({"messages":[{"role":"user","content":"hi"}]})"));
  ASSERT_EQ(chat.status, 200) << chat.body;
  const auto body = chat.json();
  const auto& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "stop");
  EXPECT_EQ(choice.at("message").at("content"), scripted_json(engine_.last_request().prompt, 0, 5));
  EXPECT_EQ(engine_.num_cancelled, 0);
}

TEST_F(Server, LargeBodiesAreWorkedOnElsewhere) {
  ServerOptions options;
  options.inline_body_bytes = 64;
  start(options);
  const std::string prompt(3000, 'q');
  const auto response = ask(port_, post_text("/v1/completions", "{\"prompt\":\"" + prompt + "\",\"max_tokens\":4}"));
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json().at("usage").at("prompt_tokens"), 3000);
  EXPECT_EQ(ask(port_, post_text("/v1/completions", "{\"prompt\":\"" + prompt + "\",\"n\":99}")).status, 400);
}

TEST_F(Server, RefusalsOfTheEngineReachTheClient) {
  start();
  engine_.max_requests = 0;
  const auto full = ask(port_, post_text("/v1/completions", R"({"prompt":"a"})"));
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.field("Retry-After"), "3");
  engine_.max_requests = 1;
  engine_.paused = true;
  EXPECT_EQ(ask(port_, post_text("/v1/completions", R"({"prompt":["a","b"]})")).status, 429);
  engine_.paused = false;
  EXPECT_EQ(engine_.num_running(), 0) << "the prompt that fitted is cancelled with the one that did not";
  engine_.max_requests = 9;
  engine_.fail_after = 2;
  const auto failed = ask(port_, post_text("/v1/completions", R"({"prompt":"a"})"));
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(failed.body.find("secret"), std::string::npos);
}

TEST_F(Server, SaysWhatItWaitsForWhileLoading) {
  engine_.engine_state = EngineState::loading;
  engine_.metadata_read = false;
  start();
  const auto health = ask(port_, get_text("/health"));
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(health.json().at("reason"), "reading weights 43 %");
  EXPECT_EQ(ask(port_, get_text("/health/live")).status, 200);
  EXPECT_EQ(ask(port_, get_text("/metrics")).status, 200);
  const auto chat = ask(port_, post_text("/v1/chat/completions", "{}"));
  EXPECT_EQ(chat.status, 503);
  EXPECT_FALSE(chat.field("Retry-After").empty());
  engine_.engine_state = EngineState::ready;
  engine_.metadata_read = true;
  EXPECT_EQ(ask(port_, get_text("/health/ready")).status, 200);
  engine_.alive = false;
  EXPECT_EQ(ask(port_, get_text("/health/ready")).status, 503);
}

TEST_F(Server, AnAddressInUseIsAnErrorThatNamesIt) {
  start();
  ServerOptions options;
  options.port = port_;
  FrontEnd second(options, engine_);
  try {
    second.start();
    FAIL() << "the port is taken";
  } catch (const Error& fault) {
    EXPECT_EQ(fault.part(), Part::frontend);
    EXPECT_NE(std::string(fault.what()).find("127.0.0.1:" + std::to_string(port_)), std::string::npos) << fault.what();
  }
}

TEST_F(Server, PipelinedRequestsAreAnsweredInOrder) {
  engine_.token_delay_us = 1000;
  start();
  HttpClient client(port_);
  std::string all;
  for (int i = 0; i < 20; ++i) {
    all += post_text("/v1/completions", fmt::format(R"({{"prompt":[{}],"max_tokens":3}})", i));
    all += get_text("/version");
  }
  client.send(all);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.response()->json().at("choices").at(0).at("text"), scripted_json({i}, 0, 3));
    EXPECT_TRUE(client.response()->json().as_object().contains("version"));
  }
}

/// The next request may come while the server still ends the last one: its bytes must not be waited for again.
TEST_F(Server, ARequestRightBehindAnAnswerIsAnswered) {
  start();
  HttpClient client(port_);
  for (int i = 0; i < 3000; ++i) {
    client.send(get_text("/version"));
    ASSERT_EQ(client.response()->status, 200) << "request " << i;
  }
}

TEST_F(Server, AClientMayWaitForContinue) {
  start();
  HttpClient client(port_);
  client.send("POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(client.wait_for("100 Continue\r\n\r\n"));
  client.send(R"({"prompt":"a"})");
  ASSERT_TRUE(client.wait_for("\"count\":1"));
  EXPECT_EQ(ask(port_, get_text("/version", "Expect: money\r\n")).status, 417);
}

TEST_F(Server, ChunkedBodiesAndOldVersionsWork) {
  start();
  const auto chunked = ask(port_,
                           "POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "8\r\n{\"prompt\r\n6\r\n\":\"a\"}\r\n0\r\n\r\n");
  EXPECT_EQ(chunked.status, 200) << chunked.body;
  const auto old = ask(port_, "GET /version HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.status, 200);
  EXPECT_FALSE(old.keep_alive);
  HttpClient client(port_);
  const std::string body = R"({"prompt":[5],"max_tokens":4,"stream":true})";
  client.send(fmt::format("POST /v1/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  const auto stream = client.response();
  EXPECT_EQ(stream->field("Transfer-Encoding"), "");
  EXPECT_NE(stream->body.find("data: [DONE]"), std::string::npos);
}

TEST_F(Server, AmbiguousFramingIsRefusedAndTheConnectionClosed) {
  start();
  const std::string_view heads[] = {
      "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
      "Host: a\r\nTransfer-Encoding: gzip\r\n",
      "Host: a\r\nTransfer-Encoding: chunked, chunked\r\n",
      "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
      "Host: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
      "Host: a\r\nTransfer-Encoding: xchunked\r\n",
      "Host: a\r\nTransfer-Encoding:\r\n",
      "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
      "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
      "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n",
      "Host: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
      "Host: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
      "Host: a\r\nContent-Length: 5, 5\r\n",
      "Host: a\r\nContent-Length: +5\r\n",
      "Host: a\r\nContent-Length: -5\r\n",
      "Host: a\r\nContent-Length: 0x5\r\n",
      "Host: a\r\nContent-Length:\r\n",
      "Host: a\r\nContent-Length: 99999999999999999999999\r\n",
      "Host: a\r\nHost: b\r\n",
      "Accept: */*\r\n",
      "Host: a\r\nContent Length: 5\r\n",
      "Host: a\r\nContent-Length : 5\r\n",
  };
  for (const auto head : heads) {
    HttpClient client(port_);
    client.send(fmt::format("POST /tokenize HTTP/1.1\r\n{}\r\nhello{}", head, get_text("/version")));
    const auto response = client.response();
    ASSERT_TRUE(response) << head;
    EXPECT_EQ(response->status, 400) << head;
    EXPECT_FALSE(response->keep_alive) << head;
    EXPECT_FALSE(client.response()) << "a second answer after " << head;
  }
  EXPECT_EQ(ask(port_, "POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").status, 400);
}

TEST_F(Server, LimitsHaveStatusesOfTheirOwn) {
  start();
  EXPECT_EQ(ask(port_, get_text("/version", "X: " + std::string(40000, 'a') + "\r\n")).status, 431);
  EXPECT_EQ(ask(port_, get_text("/" + std::string(10000, 'a'))).status, 414);
  EXPECT_EQ(ask(port_, get_text("/" + std::string(100000, 'a'))).status, 414);
  EXPECT_EQ(ask(port_, "POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 33554433\r\n\r\n").status, 413);
  HttpClient client(port_);
  client.send("POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "100000\r\n" + std::string(1 << 20, ' ') + "\r\n";
  for (int i = 0; i < 33; ++i) client.send(chunk);
  EXPECT_EQ(client.response()->status, 413);
}

TEST_F(Server, TooManyConnectionsAndTooManyBodiesAre503) {
  ServerOptions options;
  options.max_connections = 2;
  options.total_body_bytes = 1000;
  start(options);
  EXPECT_EQ(ask(port_, post_text("/tokenize", R"({"prompt":")" + std::string(2000, 'a') + "\"}")).status, 503);
  while (front_->http_metrics().connections.load() > 0) std::this_thread::sleep_for(1ms);
  HttpClient first(port_), second(port_);
  for (auto* client : {&first, &second}) {
    client->send(get_text("/version"));
    EXPECT_EQ(client->response()->status, 200);
  }
  const auto third = ask(port_, get_text("/version"));
  EXPECT_EQ(third.status, 503);
  EXPECT_EQ(error_code(third), "too_many_connections");
}

TEST_F(Server, SilentAndSlowClientsAreClosed) {
  ServerOptions options;
  options.idle_timeout = options.header_timeout = options.body_timeout = 50ms;
  start(options);
  for (const auto* text : {"", "GET /ver", "POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{"}) {
    HttpClient client(port_);
    client.send(text);
    EXPECT_FALSE(client.response()) << text;
  }
}

TEST_F(Server, DrainLetsRunningRequestsFinish) {
  engine_.token_delay_us = 2000;
  start();
  HttpClient running(port_), idle(port_);
  idle.send(get_text("/version"));
  EXPECT_TRUE(idle.response()->keep_alive);
  running.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":60,"stream":true})"));
  ASSERT_TRUE(running.wait_for("data: "));
  front_->drain();
  idle.send(post_text("/v1/completions", R"({"prompt":[5]})"));
  const auto refused = idle.response();
  EXPECT_EQ(refused->status, 503);
  EXPECT_FALSE(refused->keep_alive);
  EXPECT_FALSE(refused->field("Retry-After").empty());
  EXPECT_EQ(ask(port_, get_text("/health")).json().at("status"), "draining");
  EXPECT_EQ(ask(port_, get_text("/v1/models")).status, 503);
  EXPECT_FALSE(front_->wait_idle(0ms));
  EXPECT_NE(running.response()->body.find("data: [DONE]"), std::string::npos);
  EXPECT_TRUE(front_->wait_idle(10s));
  EXPECT_EQ(engine_.num_cancelled, 0);
}

TEST_F(Server, StopCancelsWhatRuns) {
  engine_.token_delay_us = 1000;
  start();
  HttpClient stream(port_), whole(port_);
  stream.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":4000,"stream":true})"));
  whole.send(post_text("/v1/completions", R"({"prompt":[6],"max_tokens":4000})"));
  ASSERT_TRUE(stream.wait_for("data: "));
  while (engine_.num_submitted < 2) std::this_thread::sleep_for(1ms);
  front_->stop();
  EXPECT_EQ(engine_.num_running(), 0);
  EXPECT_EQ(engine_.num_cancelled, 2);
  EXPECT_EQ(front_->http_metrics().connections.load(), 0);
}

}  // namespace
}  // namespace echelon
