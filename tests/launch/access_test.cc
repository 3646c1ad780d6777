// When a server gets a key of its own, and how that key is kept.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "kernels/base/error.h"
#include "launch/generated_key.h"
#include "launch/server_settings.h"

namespace echelon {
namespace {

using ::testing::HasSubstr;

TEST(NeedsApiKey, WhereOthersReachTheServerAndNobodySaidWhoMay) {
  const auto needs = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "m");
    return needs_api_key(parse_serve(arguments, {}).options);
  };
  EXPECT_FALSE(needs({}));
  EXPECT_FALSE(needs({"--host", "127.0.0.2"}));
  EXPECT_FALSE(needs({"--host", "localhost"}));
  EXPECT_FALSE(needs({"--host", "::1"}));
  EXPECT_TRUE(needs({"--host", "0.0.0.0"}));
  EXPECT_TRUE(needs({"--host", "::"}));
  EXPECT_TRUE(needs({"--host", "192.0.2.1"}));
  EXPECT_FALSE(needs({"--host", "0.0.0.0", "--no-api-key"}));
  EXPECT_FALSE(needs({"--host", "0.0.0.0", "--api-key", "k"}));
  EXPECT_FALSE(needs({"--host", "0.0.0.0", "--api-key-file", "/k"}));
  EXPECT_FALSE(needs({"--host", "0.0.0.0", "--listen", "unix:/s"}));
  EXPECT_FALSE(needs({"--listen", "unix:/s", "--listen", "127.0.0.1:1"}));
  EXPECT_TRUE(needs({"--listen", "unix:/s", "--listen", "0.0.0.0:1"}));
  EXPECT_THROW(needs({"--host", "no such host"}), Error);
}

class GeneratedKey : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("echelon_key_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(GeneratedKey, IsPrivateAndReplacesWhatIsThereWithoutFollowingLinks) {
  const std::string key = random_api_key();
  EXPECT_EQ(key.size(), 51u);
  EXPECT_NE(key, random_api_key());
  const auto other = folder_ / "other";
  std::ofstream(other) << "untouched";
  std::filesystem::create_directories(folder_ / "a/b");
  std::filesystem::create_symlink(other, folder_ / "a/b/node1-80.key");
  const auto path = write_api_key(key, "node1", 80, {folder_ / "a/b"});
  EXPECT_EQ(path, folder_ / "a/b/node1-80.key");
  EXPECT_EQ(text_of(path), key + "\n");
  EXPECT_EQ(text_of(other), "untouched");
  struct stat status {};
  ASSERT_EQ(::lstat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFREG | 0600u);
}

TEST_F(GeneratedKey, TakesTheNextFolderAndElseSaysWhatToGive) {
  std::ofstream(folder_ / "file") << "in the way";
  EXPECT_EQ(write_api_key("k", "n", 1, {folder_ / "file/keys", folder_ / "run"}), folder_ / "run/n-1.key");
  for (const auto& folders : {std::vector<std::filesystem::path>{folder_ / "file/keys"}, {}}) {
    try {
      write_api_key("k", "n", 1, folders);
      FAIL() << "there is nowhere to write";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("give --api-key-file, or --no-api-key"));
    }
  }
}

}  // namespace
}  // namespace echelon
