// Who may use the server: the key file, its mode and its mistakes, keys by name, and what a reload changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "frontend/front_end.h"
#include "kernels/base/error.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

using ::testing::AllOf;
using testing::ask;
using testing::get_text;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::post_text;

/// printf %s secret | sha256sum
constexpr const char* kHashOfSecret = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

class Access : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("echelon_access_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& text, mode_t mode = 0600) {
    const std::string path = folder_ / "keys";
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string error_of(const std::string& path) {
    try {
      read_key_file(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.part(), Part::frontend);
      return error.what();
    }
    return "no error";
  }

  std::filesystem::path folder_;
};

std::string bearer(const std::string& key) { return "Authorization: Bearer " + key + "\r\n"; }

TEST_F(Access, AKeyFileNamesKeysInClearAndHashed) {
  const auto keys =
      read_key_file(write(fmt::format("# who\n\n  alice:a:b#c \r\nbob@site.org:sha256:{}\n\t# end", kHashOfSecret)));
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0].id, "alice");
  EXPECT_EQ(keys[0].hash, sha256("a:b#c"));
  EXPECT_EQ(keys[1].id, "bob@site.org");
  EXPECT_EQ(keys[1].hash, sha256("secret"));
  EXPECT_EQ(read_key_file(write("a:b", 0400)).size(), 1u);
}

TEST_F(Access, KeysMayHaveLimitsOfTheirOwn) {
  const auto keys = read_key_file(write("a:k1 tokens=100000\trequests=60 \nb:k2  requests=0\nc:k3\n"));
  EXPECT_EQ(keys[0].requests_per_min, 60);
  EXPECT_EQ(keys[0].tokens_per_min, 100000);
  EXPECT_EQ(keys[0].hash, sha256("k1"));
  EXPECT_EQ(keys[1].requests_per_min, 0);
  EXPECT_EQ(keys[2].requests_per_min, std::nullopt);
  for (const std::string bad : {"requests", "requests=", "requests=-1", "requests=1.5", "requests=1k", "tokens=+1",
                                "tokens=99999999999999999999", "seats=3", "requests=1 requests=2", "=3"})
    EXPECT_THAT(error_of(write("a:k " + bad)), HasSubstr("keys:1: behind the key of a there may be")) << bad;
}

TEST_F(Access, OthersMayNotReadTheKeyFile) {
  for (const mode_t mode : {0640, 0604, 0644, 0620, 0660})
    EXPECT_THAT(error_of(write("a:b", mode)), AllOf(HasSubstr("--api-key-file"), HasSubstr("chmod 600 ")));
  EXPECT_THAT(error_of(folder_), HasSubstr("not a regular file"));
  EXPECT_THAT(error_of(folder_ / "none"), AllOf(HasSubstr("--api-key-file"), HasSubstr("No such file")));
}

TEST_F(Access, WhatIsWrongInAKeyFileIsSaidWithoutTheKey) {
  const std::string hash = kHashOfSecret;
  for (const std::string bad : {"Secret", "a b:Secret", ":Secret", "a:", "a:Sec ret",
                                "a:S\x01"
                                "ecret",
                                "a:sha256:12", "a:sha256:", "a/b:Secret", "a:Secr\xc3\xa9t"}) {
    const std::string error = error_of(write("x:y\n" + bad + "\n"));
    EXPECT_THAT(error, HasSubstr("keys:2: ")) << bad;
    EXPECT_THAT(error, Not(HasSubstr("ecret"))) << bad;
  }
  EXPECT_THAT(error_of(write("a:sha256:" + hash.substr(0, 63) + "g")), HasSubstr("64 hexadecimal digits"));
  EXPECT_THAT(error_of(write("a:one\na:two")), HasSubstr("keys:2: a stands twice"));
  EXPECT_THAT(error_of(write("a:secret\nb:sha256:" + hash)), HasSubstr("the key of b is another's"));
  EXPECT_THAT(error_of(write("# nobody\n")), HasSubstr("holds no key"));
  EXPECT_THAT(error_of(write(std::string(2 << 20, '#'))), HasSubstr("larger than"));
  EXPECT_THAT(error_of(write(std::string("a\0b:c", 5))), HasSubstr("keys:1"));
}

TEST_F(Access, KeysOfFlagsAndFileAreTenantsByName) {
  ServerOptions options;
  options.port = 0;
  options.api_keys = {"given"};
  options.api_key_file = write(std::string("alice:first\nbob:sha256:") + kHashOfSecret + "\n");
  testing::ScriptEngine engine;
  FrontEnd front(options, engine);
  front.start();
  for (const auto& [key, tenant] : {std::pair("given", "key 1"), {"first", "alice"}, {"secret", "bob"}}) {
    EXPECT_EQ(ask(front.port(), post_text("/v1/completions", R"({"prompt":"a","max_tokens":1})", bearer(key))).status,
              200);
    EXPECT_EQ(engine.last_request().tenant, tenant);
  }
  EXPECT_EQ(ask(front.port(), get_text("/v1/models", bearer(kHashOfSecret))).status, 401) << "a hash is no key";
  EXPECT_EQ(ask(front.port(), get_text("/v1/models", bearer("alice"))).status, 401);
}

TEST_F(Access, OnlyAnAdministratorMayChangeTheServersState) {
  ServerOptions options;
  options.port = 0;
  options.api_keys = {"given"};
  options.api_key_file = write("alice:first\nroot:top admin requests=5\n");
  testing::ScriptEngine engine;
  FrontEnd front(options, engine);
  front.start();
  const auto status = [&](const std::string& key) {
    return ask(front.port(), post_text("/reset_prefix_cache", "", bearer(key))).status;
  };
  EXPECT_EQ(status("first"), 403);
  EXPECT_EQ(status("wrong"), 401);
  EXPECT_EQ(engine.num_resets.load(), 0);
  EXPECT_EQ(status("given"), 200);
  EXPECT_EQ(status("top"), 200);
  EXPECT_EQ(engine.num_resets.load(), 2);
}

TEST_F(Access, AReloadTakesNewKeysAndKeepsTheOldOnesWhenTheFileIsBroken) {
  ServerOptions options;
  options.port = 0;
  options.api_key_file = write("alice:first\n");
  testing::ScriptEngine engine;
  FrontEnd front(options, engine);
  front.start();
  const auto status = [&](const char* key) { return ask(front.port(), get_text("/v1/models", bearer(key))).status; };
  write("alice:second\n");
  EXPECT_EQ(status("first"), 200) << "until the reload";
  front.reload();
  EXPECT_EQ(status("first"), 401);
  EXPECT_EQ(status("second"), 200);
  for (const auto& [text, mode] : {std::pair("nonsense", 0600), {"alice:third", 0644}, {"", 0600}}) {
    write(text, static_cast<mode_t>(mode));
    front.reload();
    EXPECT_EQ(status("second"), 200) << text;
    EXPECT_EQ(status("third"), 401);
  }
  std::filesystem::remove(folder_ / "keys");
  front.reload();
  EXPECT_EQ(status("second"), 200);
}

TEST_F(Access, AFaultyKeyFileEndsTheStart) {
  ServerOptions options;
  options.api_key_file = write("a:b", 0644);
  testing::ScriptEngine engine;
  EXPECT_THROW(FrontEnd(options, engine), Error);
}

}  // namespace
}  // namespace echelon
