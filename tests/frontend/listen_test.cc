// Where a server listens: texts of addresses, several listeners at once, and the life of a Unix-domain socket's file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "frontend/front_end.h"
#include "kernels/base/error.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using testing::get_text;
using ::testing::HasSubstr;
using testing::HttpClient;
using testing::post_text;

TEST(ListenAddress, Texts) {
  EXPECT_EQ(parse_listen_address("unix:/run/a:b").unix_path, "/run/a:b");
  EXPECT_EQ(parse_listen_address("unix:relative").unix_path, "relative");
  const auto v6 = parse_listen_address("[::1]:80");
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(v6.port, 80);
  for (const auto* text : {"localhost:0", "0.0.0.0:65535", "[fe80::1]:8000", "unix:/a"})
    EXPECT_EQ(to_string(parse_listen_address(text)), text);
  for (const auto* bad :
       {"", "unix:", ":80", "host", "host:", "host:65536", "host:-1", "host:8x", "::1:80", "[::1]", "[]:1"})
    EXPECT_THROW(parse_listen_address(bad), std::invalid_argument) << bad;
  EXPECT_THROW(parse_listen_address("unix:/" + std::string(200, 'p')), std::invalid_argument);
}

class Listen : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("echelon_listen_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "socket";
  }
  void TearDown() override {
    front_.reset();
    std::filesystem::remove_all(folder_);
  }
  void start(std::vector<std::string> addresses) {
    ServerOptions options;
    options.listen = std::move(addresses);
    front_.emplace(options, engine_);
    front_->start();
  }
  std::string error_of(std::vector<std::string> addresses) {
    ServerOptions options;
    options.listen = std::move(addresses);
    FrontEnd second(options, engine_);
    try {
      second.start();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  testing::ScriptEngine engine_;
  std::optional<FrontEnd> front_;
  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(Listen, OnASocketOfItsOwnerAloneBesideTcp) {
  start({"unix:" + path_, "127.0.0.1:0"});
  struct stat status {};
  ASSERT_EQ(::lstat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFSOCK | 0600u);
  HttpClient local(path_);
  for (int i = 0; i < 2; ++i) {  // kept alive
    local.send(post_text("/v1/completions", R"({"prompt":[5],"max_tokens":3,"stream":true})"));
    const auto stream = local.response();
    EXPECT_EQ(stream->status, 200);
    EXPECT_NE(stream->body.find("data: [DONE]"), std::string::npos);
  }
  ASSERT_EQ(front_->addresses().size(), 2u);
  EXPECT_EQ(front_->addresses()[1].port, front_->port());
  EXPECT_EQ(testing::ask(front_->port(), get_text("/version")).status, 200);
}

TEST_F(Listen, AClientThatLeavesASocketIsNoticed) {
  engine_.paused = true;
  start({"unix:" + path_});
  EXPECT_EQ(front_->port(), 0);
  HttpClient client(path_);
  client.send(post_text("/v1/completions", R"({"prompt":"a"})"));
  ASSERT_TRUE(testing::becomes_true([&] { return engine_.num_submitted == 1; }));
  client.leave();
  EXPECT_TRUE(testing::becomes_true([&] { return engine_.num_cancelled == 1; }));
}

TEST_F(Listen, TheFileOfADeadServerIsReplacedAndOfALiveOneNot) {
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(dead);
  ASSERT_TRUE(std::filesystem::exists(path_));
  start({"unix:" + path_});
  EXPECT_THAT(error_of({"unix:" + path_}), HasSubstr("unix:" + path_ + ": a server listens there"));
  HttpClient client(path_);
  client.send(get_text("/version"));
  EXPECT_EQ(client.response()->status, 200);
  client.leave();
  front_->stop();
  EXPECT_FALSE(std::filesystem::exists(path_)) << "removed at the end";
}

TEST_F(Listen, WhatIsNoSocketIsLeftAlone) {
  std::ofstream(path_) << "precious";
  EXPECT_THAT(error_of({"unix:" + path_}), HasSubstr("it is no socket"));
  EXPECT_THAT(error_of({"unix:/nowhere/socket"}), HasSubstr("No such file"));
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
  std::filesystem::remove(path_);
  start({"unix:" + path_});
  std::filesystem::remove(path_);
  std::ofstream(path_) << "another's";
  front_->stop();
  EXPECT_TRUE(std::filesystem::exists(path_)) << "what somebody else put there meanwhile stays";
}

TEST_F(Listen, TheFirstFreePortOfARange) {
  start({"127.0.0.1:0"});
  const uint16_t taken = front_->port();
  const auto with_range = [&](uint16_t first, uint16_t last) {
    ServerOptions options;
    options.port = first;
    options.last_port = last;
    return std::make_unique<FrontEnd>(options, engine_);
  };
  const auto next = with_range(taken, static_cast<uint16_t>(std::min(taken + 50, 65535)));
  next->start();
  EXPECT_GT(next->port(), taken);
  EXPECT_EQ(to_string(next->addresses()[0]), fmt::format("127.0.0.1:{}", next->port()));
  EXPECT_EQ(testing::ask(next->port(), get_text("/version")).status, 200);
  try {
    with_range(taken, taken)->start();
    FAIL() << "the port is taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr(fmt::format("cannot listen on 127.0.0.1:{0}-{0}: Address already in use", taken)));
  }
}

TEST_F(Listen, AFailedStartLeavesNoFile) {
  EXPECT_THAT(error_of({"unix:" + path_, "no such host:1"}), HasSubstr("cannot listen on no such host:1"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace echelon
