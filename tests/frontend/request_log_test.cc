// The log of requests: what a line holds and never holds, files that are moved away, and disks that are full.
#include "frontend/access/request_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <fstream>

#include "frontend/front_end.h"
#include "kernels/base/error.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using testing::ask;
using testing::becomes_true;
using testing::get_text;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::post_text;
namespace json = boost::json;

class Log : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("echelon_log_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "requests";
  }
  void TearDown() override {
    front_.reset();
    std::filesystem::remove_all(folder_);
  }
  uint16_t start(ServerOptions options = {}) {
    options.port = 0;
    options.request_log = path_;
    front_.emplace(options, engine_);
    front_->start();
    return front_->port();
  }
  static std::vector<std::string> lines(const std::string& path) {
    std::ifstream file(path);
    std::vector<std::string> out;
    for (std::string line; std::getline(file, line);) out.push_back(line);
    return out;
  }
  /// The lines, once there are `count`.
  std::vector<std::string> wait_for(size_t count) {
    EXPECT_TRUE(becomes_true([&] { return lines(path_).size() >= count; }));
    return lines(path_);
  }

  testing::ScriptEngine engine_;
  std::optional<FrontEnd> front_;
  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(Log, ALineSaysWhoWhatAndHowLongAndNoText) {
  ServerOptions options;
  options.api_keys = {"secret"};
  const uint16_t port = start(options);
  const auto* key = "x-api-key: secret\r\n";
  const auto answer = ask(port, post_text("/v1/completions", R"({"prompt":"hidden","max_tokens":4})", key));
  ASSERT_EQ(answer.status, 200);
  const auto line = json::parse(wait_for(1)[0]).as_object();
  EXPECT_EQ(line.at("id"), json::value(answer.field("x-request-id")));
  EXPECT_EQ(line.at("key"), "key 1");
  EXPECT_EQ(line.at("client"), "127.0.0.1");
  EXPECT_EQ(line.at("method"), "POST");
  EXPECT_EQ(line.at("path"), "/v1/completions");
  EXPECT_EQ(line.at("model"), "small");
  EXPECT_EQ(line.at("stream"), false);
  EXPECT_EQ(line.at("prompt_tokens"), answer.json().at("usage").at("prompt_tokens"));
  EXPECT_EQ(line.at("completion_tokens"), 4);
  EXPECT_EQ(line.at("cached_tokens"), 1);
  EXPECT_EQ(line.at("status"), 200);
  EXPECT_EQ(line.at("finish_reason"), "length");
  EXPECT_TRUE(line.at("queue_ms").is_null()) << "the script tells none";
  EXPECT_LE(line.at("ttft_ms").to_number<double>(), line.at("total_ms").to_number<double>());
  EXPECT_EQ(line.at("time").as_string().size(), 24u);
  EXPECT_FALSE(line.contains("request"));

  ask(port, post_text("/v1/completions", R"({"prompt":"hidden","max_tokens":3,"stream":true})", key));
  EXPECT_EQ(json::parse(wait_for(2)[1]).at("stream"), true);
  EXPECT_EQ(ask(port, get_text("/v1/models", "Authorization: Bearer guessed\r\n")).status, 401);
  const auto refused = json::parse(wait_for(3)[2]);
  EXPECT_EQ(refused.at("status"), 401);
  EXPECT_TRUE(refused.at("key").is_null());
  EXPECT_TRUE(refused.at("model").is_null());
  for (const std::string& each : lines(path_)) {
    for (const auto* text : {"hidden", "secret", "guessed"}) EXPECT_THAT(each, Not(HasSubstr(text)));
  }
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(Log, TextsStandThereWhenTheyAreAskedFor) {
  ServerOptions options;
  options.request_log_text = true;
  options.logged_text_bytes = 50;
  const uint16_t port = start(options);
  const std::string body = R"({"prompt":[5,6],"max_tokens":8,"stream":true})";
  ask(port, post_text("/v1/completions", body));
  const auto line = json::parse(wait_for(1)[0]);
  EXPECT_EQ(line.at("request"), json::value(body));
  EXPECT_EQ(line.at("response").as_string().size(), 50u);
  EXPECT_TRUE(line.at("response").as_string().starts_with("data: {"));
}

TEST(RequestLogLine, IsJsonWhateverAClientSends) {
  RequestRecord record{.path = "/%ff", .request_text = "cut \xe2\x82", .response_text = "\"\n"};
  const std::string text = request_log_line(record);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto line = json::parse(text);
  EXPECT_EQ(line.at("request"), "cut \xef\xbf\xbd");
  EXPECT_EQ(line.at("response"), "\"\n");
}

TEST_F(Log, AClientThatLeavesIsLoggedAsThat) {
  engine_.paused = true;
  const uint16_t port = start();
  testing::HttpClient client(port);
  client.send(post_text("/v1/completions", R"({"prompt":"a"})"));
  ASSERT_TRUE(becomes_true([&] { return engine_.num_submitted == 1; }));
  client.leave();
  const auto line = json::parse(wait_for(1)[0]);
  EXPECT_EQ(line.at("status"), 499);
  EXPECT_EQ(line.at("finish_reason"), "abort");
  EXPECT_TRUE(line.at("ttft_ms").is_null());
}

TEST_F(Log, AppendsAndIsOpenedAgain) {
  std::ofstream(path_) << "before\n";
  const uint16_t port = start();
  ask(port, get_text("/version"));
  EXPECT_EQ(wait_for(2)[0], "before");
  std::filesystem::rename(path_, path_ + ".1");
  ask(port, get_text("/version"));
  EXPECT_TRUE(becomes_true([&] { return lines(path_ + ".1").size() == 3; })) << "the open file goes on";
  front_->reload();
  ask(port, get_text("/version"));
  EXPECT_EQ(wait_for(1).size(), 1u);
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  front_->reload();
  EXPECT_EQ(ask(port, get_text("/version")).status, 200) << "what cannot be opened changes nothing";
}

TEST_F(Log, WritesWhatWaitsAtItsEnd) {
  {
    RequestLog log(path_);
    for (int i = 0; i < 1000; ++i) log.write(std::to_string(i));
  }
  const auto written = lines(path_);
  ASSERT_EQ(written.size(), 1000u);
  EXPECT_EQ(written.back(), "999");
}

TEST_F(Log, AFullDiskEndsNothing) {
  ServerOptions options;
  path_ = "/dev/full";
  const uint16_t port = start(options);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ask(port, get_text("/version")).status, 200);
}

TEST_F(Log, AFileThatCannotBeOpenedEndsTheStart) {
  path_ = folder_ / "no/folder";
  try {
    start();
    FAIL() << "there is no such folder";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("--request-log"));
  }
}

}  // namespace
}  // namespace echelon
