// MODEL to files: the three forms, and an error that lists what was tried.
#include "engine/weights/model_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TemporaryFolder;

/// Sets environment variables and puts the old values back.
class Environment {
 public:
  ~Environment() {
    for (const auto& [name, value] : saved_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }
  void set(const std::string& name, const std::optional<std::string>& value) {
    const char* old = std::getenv(name.c_str());
    saved_.emplace(name, old == nullptr ? std::nullopt : std::optional<std::string>(old));
    if (value) {
      ::setenv(name.c_str(), value->c_str(), 1);
    } else {
      ::unsetenv(name.c_str());
    }
  }

 private:
  std::map<std::string, std::optional<std::string>> saved_;
};

class ModelPathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"}) environment_.set(name, std::nullopt);
    environment_.set("HOME", folder_.path() + "/home");
  }
  void write_snapshot(const std::string& cache, const std::string& name) {
    folder_.write(cache + "/models--" + name + "/refs/main", "0a1b2c\n");
    folder_.write(cache + "/models--" + name + "/snapshots/0a1b2c/config.json", "{}");
  }
  Environment environment_;
  TemporaryFolder folder_;
};

TEST_F(ModelPathTest, AFileByItsFirstBytes) {
  const std::string path = folder_.write("model.bin", "GGUF....");
  EXPECT_EQ(resolve_model_path(path).kind, ModelKind::gguf);
  EXPECT_EQ(resolve_model_path(path).path, path);
  const std::string other = folder_.write("model.gguf", "PK..");
  EXPECT_THAT(error_of([&] { resolve_model_path(other); }), HasSubstr("does not begin with \"GGUF\""));
}

TEST_F(ModelPathTest, AFolder) {
  const std::string path = folder_.path() + "/folder";
  folder_.write("folder/readme", "");
  EXPECT_THAT(error_of([&] { resolve_model_path(path); }), HasSubstr("neither config.json nor a GGUF file inside"));
  folder_.write("folder/m-00001-of-00002.gguf", "GGUF");
  folder_.write("folder/m-00002-of-00002.gguf", "GGUF");
  EXPECT_EQ(resolve_model_path(path).path, path + "/m-00001-of-00002.gguf");
  folder_.write("folder/other.gguf", "GGUF");
  EXPECT_THAT(error_of([&] { resolve_model_path(path); }), HasSubstr("2 GGUF models inside"));
  folder_.write("folder/config.json", "{}");
  EXPECT_EQ(resolve_model_path(path).kind, ModelKind::hugging_face);
  EXPECT_EQ(resolve_model_path(path).path, path);
}

TEST_F(ModelPathTest, ANameInACacheFolder) {
  write_snapshot("home/.cache/huggingface/hub", "org--name");
  const std::string found = folder_.path() + "/home/.cache/huggingface/hub/models--org--name/snapshots/0a1b2c";
  EXPECT_EQ(resolve_model_path("org/name").path, found);
  EXPECT_EQ(resolve_model_path("org/name").kind, ModelKind::hugging_face);
  environment_.set("HF_HOME", folder_.path() + "/hf");
  write_snapshot("hf/hub", "org--name");
  EXPECT_THAT(resolve_model_path("org/name").path, HasSubstr("/hf/hub/models--org--name"));
  environment_.set("HF_HUB_CACHE", folder_.path() + "/cache");
  write_snapshot("cache", "org--name");
  EXPECT_THAT(resolve_model_path("org/name").path, HasSubstr("/cache/models--org--name"));
}

TEST_F(ModelPathTest, TheErrorListsWhatWasTried) {
  environment_.set("HF_HUB_CACHE", folder_.path() + "/cache");
  folder_.write("cache/models--org--name/refs/main", "../../etc");
  const std::string message = error_of([] { resolve_model_path("org/name"); });
  EXPECT_THAT(message, HasSubstr("org/name: no such file or folder"));
  EXPECT_THAT(message, HasSubstr("/cache/models--org--name/refs/main: names no snapshot"));
  EXPECT_THAT(message, HasSubstr("/home/.cache/huggingface/hub/models--org--name: no such folder"));
  for (const char* name : {"../x/y", "org/../name", "a/b/c", "/absent/model.gguf", "org/", "/name", "org/na me"}) {
    const std::string refused = error_of([&] { resolve_model_path(name); });
    EXPECT_THAT(refused, HasSubstr("not a name of the form organisation/name")) << name;
    EXPECT_THAT(refused, Not(HasSubstr("models--"))) << name;
  }
  EXPECT_THAT(error_of([] { resolve_model_path(""); }), HasSubstr("MODEL is empty"));
}

}  // namespace
}  // namespace echelon
