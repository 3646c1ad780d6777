// Where a server is, in files for others: what stands there, when it is there, and what clients make of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "launch/endpoint_file.h"
#include "launch/options.h"
#include "launch/server_settings.h"

namespace echelon {
namespace {

using ::testing::HasSubstr;

template <typename F>
std::string error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

ServerOptions with_port(const std::string& text) {
  return server_options(parse_serve({"m", "--port", text}, {}).options);
}

TEST(Port, OneAnyOrARange) {
  EXPECT_EQ(with_port("0").port, 0);
  EXPECT_EQ(with_port("8001").port, 8001);
  EXPECT_EQ(with_port("8001").last_port, 0);
  EXPECT_EQ(with_port("8000-8010").port, 8000);
  EXPECT_EQ(with_port("8000-8010").last_port, 8010);
  EXPECT_EQ(server_options(parse_serve({"m", "--port", "1-2", "--port", "3"}, {}).options).last_port, 0);
  EXPECT_THAT(print_config("serve", parse_serve({"m", "--port", "1-2"}, {})), HasSubstr("port: 1-2"));
  for (const char* bad : {"8010-8000", "0-5", "1-65536", "1-", "-1", "1-2-3", "a-b", "1 - 2"})
    EXPECT_THAT(error_of([&] { with_port(bad); }), HasSubstr("--port")) << bad;
  EXPECT_THAT(error_of([&] { with_port("8010-8000"); }), HasSubstr("ends before it begins"));
}

TEST(Targets, NeedANameThatPrometheusReads) {
  EXPECT_THAT(error_of([] {
                parse_serve({"m", "--prometheus-targets", "t.yaml"}, {});
              }),
              HasSubstr("does not end in .json"));
}

Endpoint endpoint() {
  return {.host = "node7",
          .addresses = {{.unix_path = "/s"}, {.host = "0.0.0.0", .port = 8003}, {.host = "fd00::1", .port = 1}},
          .has_tls = false,
          .model = "a \"model\"",
          .process = 12,
          .job_id = "42",
          .started = "2026-11-28T00:00:00Z",
          .key_file = ""};
}

TEST(Endpoint, IsJsonThatNamesTheHost) {
  EXPECT_EQ(boost::json::parse(endpoint_json(endpoint())), boost::json::parse(R"({
    "url": "unix:/s", "urls": ["unix:/s", "http://node7:8003", "http://[fd00::1]:1"], "host": "node7", "port": 8003,
    "model": "a \"model\"", "pid": 12, "job_id": "42", "started": "2026-11-28T00:00:00Z", "api_key_file": null})"));
}

TEST(Endpoint, IsATargetOfPrometheus) {
  EXPECT_EQ(boost::json::parse(targets_json(endpoint())), boost::json::parse(R"([{
    "targets": ["node7:8003", "[fd00::1]:1"], "labels": {"model": "a \"model\"", "job_id": "42"}}])"));
  Endpoint secret = endpoint();
  secret.has_tls = true;
  secret.job_id.clear();
  EXPECT_EQ(boost::json::parse(targets_json(secret)).at(0).at("labels"),
            boost::json::parse(R"({"model": "a \"model\"", "__scheme__": "https"})"));
}

class Published : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("echelon_place_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "endpoint.json";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string text() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::filesystem::path folder_, path_;
};

TEST_F(Published, IsThereFromReadyToTheEnd) {
  std::ofstream(path_) << "of a server before";
  {
    PublishedFile file(path_);
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_EQ(file.publish("here"), "");
    EXPECT_EQ(text(), "here");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1) << "nothing else is left";
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(Published, LeavesAnothersFile) {
  {
    PublishedFile file(path_);
    file.publish("mine");
    std::ofstream(path_) << "another's";
  }
  EXPECT_EQ(text(), "another's");
}

TEST_F(Published, SaysWhereItCannotBe) {
  EXPECT_THAT(error_of([&] { PublishedFile file(folder_ / "no/such/file"); }), HasSubstr("no/such"));
  PublishedFile file(path_);
  std::filesystem::create_directories(path_ / "a folder in its place");
  EXPECT_THAT(file.publish("x"), HasSubstr("cannot be written"));
}

TEST_F(Published, IsTakenForAUrl) {
  EXPECT_EQ(server_at("http://h:7").port, "7");
  PublishedFile file(path_);
  file.publish(endpoint_json(endpoint()));
  EXPECT_EQ(server_at(path_).host, "node7");
  EXPECT_EQ(server_at(path_).port, "8003");
  for (const char* bad : {"{", "[]", "{\"urls\": 1}", "{\"urls\": [\"unix:/s\", 5]}"}) {
    std::ofstream(path_) << bad;
    EXPECT_THAT(error_of([&] { server_at(path_); }), HasSubstr("--endpoint-file")) << bad;
  }
  EXPECT_THAT(error_of([&] { server_at(folder_ / "none.json"); }), HasSubstr("none.json"));
}

}  // namespace
}  // namespace echelon
