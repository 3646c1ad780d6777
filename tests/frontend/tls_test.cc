// TLS: what is spoken, who is told what, certificates that change while the server runs, and files that are at fault.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "frontend/front_end.h"
#include "kernels/base/error.h"
#include "tests/frontend/script_engine.h"
#include "tests/frontend/tls_client.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using testing::get_text;
using ::testing::HasSubstr;
using testing::HttpClient;
using testing::post_text;
using testing::TlsClient;
using testing::write_certificate;

class Tls : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("echelon_tls_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    options_.port = 0;
    options_.tls_certificate = folder_ / "cert.pem";
    options_.tls_key = folder_ / "key.pem";
    write_certificate("first", options_.tls_certificate, options_.tls_key);
  }
  void TearDown() override {
    front_.reset();
    std::filesystem::remove_all(folder_);
  }
  uint16_t start() {
    front_.emplace(options_, engine_);
    front_->start();
    return front_->port();
  }
  std::string error_of() {
    try {
      FrontEnd(options_, engine_);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  testing::ScriptEngine engine_;
  ServerOptions options_;
  std::optional<FrontEnd> front_;
  std::filesystem::path folder_;
};

TEST_F(Tls, AnswersStreamsAndKeepsAliveInBothVersions) {
  const uint16_t port = start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(port, version);
    for (int i = 0; i < 50; ++i) {
      client.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":9,"stream":true})"));
      const auto stream = client.response();
      EXPECT_EQ(stream.status, 200);
      EXPECT_NE(stream.body.find("data: [DONE]"), std::string::npos);
    }
    client.send(get_text("/version", "Connection: close\r\n"));
    EXPECT_EQ(client.response().status, 200);
    EXPECT_EQ(client.end(), boost::asio::error::eof) << "the server says goodbye";
  }
  EXPECT_THROW(TlsClient(port, TLS1_1_VERSION), boost::system::system_error);
}

TEST_F(Tls, LargeBodiesAndPipelinedRequestsPass) {
  const uint16_t port = start();
  TlsClient client(port);
  const std::string prompt(300'000, 'q');
  const std::string text = post_text("/tokenize", "{\"prompt\":\"" + prompt + "\"}");
  client.send(text + text + get_text("/version"));
  for (int i = 0; i < 2; ++i) {
    const auto answer = client.response();
    ASSERT_EQ(answer.status, 200) << answer.body.substr(0, 200);
    EXPECT_EQ(answer.json().at("count"), 300'000);
  }
  EXPECT_EQ(client.response().status, 200);
}

TEST_F(Tls, AClientThatLeavesIsNoticed) {
  engine_.paused = true;
  const uint16_t port = start();
  TlsClient client(port);
  client.send(post_text("/v1/completions", R"({"prompt":"a"})"));
  ASSERT_TRUE(testing::becomes_true([&] { return engine_.num_submitted == 1; }));
  client.leave();
  EXPECT_TRUE(testing::becomes_true([&] { return engine_.num_cancelled == 1; }));
}

TEST_F(Tls, WhoSpeaksHttpInClearIsToldAndLeft) {
  const uint16_t port = start();
  HttpClient client(port);
  client.send(post_text("/v1/completions", std::string(100'000, ' ')));
  const auto answer = client.response();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 400);
  EXPECT_EQ(answer->json().at("error").at("code"), "tls_required");
  EXPECT_FALSE(client.receive()) << "closed";
  HttpClient nonsense(port);
  nonsense.send(std::string(64, '\x7f'));
  EXPECT_EQ(nonsense.rest().find("HTTP"), std::string::npos);
}

TEST_F(Tls, WhoSaysNothingIsLeftInTime) {
  options_.handshake_timeout = 50ms;
  const uint16_t port = start();
  HttpClient client(port);
  EXPECT_EQ(client.rest(), "");
  HttpClient half(port);
  half.send(std::string("\x16\x03\x01\x02\x00", 5));
  EXPECT_EQ(half.rest(), "");
  EXPECT_TRUE(testing::becomes_true([&] { return front_->http_metrics().connections.load() == 0; }));
}

TEST_F(Tls, AReloadIsForNewConnectionsAndABrokenFileChangesNothing) {
  const uint16_t port = start();
  TlsClient before(port);
  EXPECT_EQ(before.peer(), "first");
  write_certificate("second", options_.tls_certificate, options_.tls_key);
  EXPECT_EQ(TlsClient(port).peer(), "first") << "until the reload";
  front_->reload();
  EXPECT_EQ(TlsClient(port).peer(), "second");
  before.send(get_text("/version"));
  EXPECT_EQ(before.response().status, 200);
  std::ofstream(options_.tls_certificate) << "nonsense";
  front_->reload();
  EXPECT_EQ(TlsClient(port).peer(), "second");
  write_certificate("third", options_.tls_certificate, folder_ / "other.pem");
  front_->reload();
  EXPECT_EQ(TlsClient(port).peer(), "second") << "a certificate without its key";
}

TEST_F(Tls, UnixDomainSocketsGoWithout) {
  const std::string path = folder_ / "socket";
  options_.listen = {"unix:" + path, "127.0.0.1:0"};
  const uint16_t port = start();
  HttpClient local(path);
  local.send(get_text("/version"));
  EXPECT_EQ(local.response()->status, 200);
  TlsClient client(port);
  client.send(get_text("/version"));
  EXPECT_EQ(client.response().status, 200);
}

TEST_F(Tls, TooManyConnectionsAreToldInTls) {
  options_.max_connections = 1;
  const uint16_t port = start();
  TlsClient first(port), second(port);
  second.send(get_text("/version"));
  EXPECT_EQ(second.response().status, 503);
}

TEST_F(Tls, FilesAtFaultEndTheStart) {
  const ServerOptions good = options_;
  options_.tls_key = "";
  EXPECT_THAT(error_of(), HasSubstr("--tls-cert needs --tls-key"));
  options_ = good;
  options_.tls_certificate = folder_ / "none";
  EXPECT_THAT(error_of(), AllOf(HasSubstr("--tls-cert"), HasSubstr("No such file")));
  options_ = good;
  options_.tls_key = options_.tls_certificate;
  EXPECT_THAT(error_of(), HasSubstr("--tls-key"));
  options_ = good;
  write_certificate("other", folder_ / "other.pem", options_.tls_key);
  EXPECT_THAT(error_of(), HasSubstr("--tls-key"));
  ::chmod(options_.tls_key.c_str(), 0644);
  EXPECT_THAT(error_of(), HasSubstr("chmod 600 "));
}

}  // namespace
}  // namespace echelon
