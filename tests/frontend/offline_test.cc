// `echelon batch` without ranks: the output file as a journal, whatever a killed process or a stranger left in it.
#include "frontend/batch/offline.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/base/error.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

namespace fs = std::filesystem;
using testing::becomes_true;
using ::testing::HasSubstr;
using testing::ScriptEngine;

class Offline : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("echelon_offline_" + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    std::string text;
    for (int i = 0; i < kRequests; ++i)
      text += fmt::format(R"({{"custom_id":"{0}","method":"POST","url":"/v1/completions",)"
                          R"("body":{{"model":"small","prompt":"p{0}","max_tokens":{1}}}}})"
                          "\n",
                          i, i == kBad ? 0 : 8);
    write(input(), text);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path input() const { return folder_ / "in"; }
  fs::path output() const { return folder_ / "out"; }
  static void write(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }
  static std::string read(const fs::path& path) {
    std::stringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  /// Status by custom_id; each once.
  std::map<std::string, int64_t> answers() const {
    std::map<std::string, int64_t> found;
    std::stringstream text(read(output()));
    for (std::string line; std::getline(text, line);) {
      const auto value = boost::json::parse(line);
      EXPECT_TRUE(
          found.emplace(value.at("custom_id").as_string().c_str(), value.at("response").at("status_code").as_int64())
              .second);
    }
    return found;
  }
  OfflineProgress run(ScriptEngine& engine, int stop_after = kRequests) {
    OfflineBatch batch(input(), output());
    std::atomic<bool> ended{false};
    std::atomic<int64_t> done{0};
    batch.start(
        engine, {}, 4, std::chrono::milliseconds(1), [&](const OfflineProgress& now) { done = now.done; },
        [&](std::exception_ptr fault) {
          EXPECT_EQ(fault, nullptr);
          ended = true;
        });
    EXPECT_TRUE(becomes_true([&] { return ended || done >= stop_after; }));
    batch.stop();
    return batch.progress();
  }
  std::string refusal() const {
    try {
      OfflineBatch batch(input(), output());
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }
  static constexpr int kRequests = 12, kBad = 5;
  fs::path folder_;
};

TEST_F(Offline, AnswersEveryLineOnce) {
  ScriptEngine engine;
  OfflineProgress end = run(engine);
  EXPECT_EQ(end.done, kRequests);
  EXPECT_EQ(end.failed, 1);
  EXPECT_EQ(answers().at(std::to_string(kBad)), 400);
  EXPECT_EQ(end.completion_tokens, (kRequests - 1) * 8);
  EXPECT_EQ(answers().size(), size_t{kRequests});
  const std::string text = read(output());
  end = run(engine);
  EXPECT_EQ(end.done, kRequests);
  EXPECT_EQ(end.answered_now, 0);
  EXPECT_EQ(read(output()), text);
}

TEST_F(Offline, GoesOnBehindWhereverItWasCut) {
  ScriptEngine engine;
  run(engine);
  const std::string text = read(output());
  const size_t second_end = text.find('\n', text.find('\n') + 1) + 1;
  for (size_t cut = 0; cut <= second_end; ++cut) {
    write(output(), text.substr(0, cut));
    const int before = engine.num_submitted.load();
    const OfflineProgress end = run(engine);
    ASSERT_EQ(answers().size(), size_t{kRequests}) << cut;
    const int64_t whole = std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(cut), '\n');
    ASSERT_EQ(end.answered_now, kRequests - whole) << cut;
    ASSERT_LE(engine.num_submitted.load() - before, kRequests - whole);
    const std::string kept = text.substr(0, text.rfind('\n', cut == 0 ? 0 : cut - 1) + 1);
    ASSERT_TRUE(read(output()).starts_with(cut == 0 ? "" : kept)) << "whole lines stay at " << cut;
  }
}

TEST_F(Offline, GoesOnAfterAStop) {
  ScriptEngine engine;
  engine.token_delay_us = 500;
  const OfflineProgress first = run(engine, 3);
  ASSERT_LT(first.done, kRequests);
  EXPECT_TRUE(becomes_true([&] { return engine.num_running() == 0; }));
  const OfflineProgress second = run(engine);
  EXPECT_EQ(second.done, kRequests);
  EXPECT_EQ(second.answered_now, kRequests - first.done);
  EXPECT_EQ(answers().size(), size_t{kRequests});
}

TEST_F(Offline, WritesIntoNobodyElsesFile) {
  for (const std::string& text : {std::string("hello"), std::string("hello\n"), std::string("{}\n"),
                                  std::string("{\"custom_id\":\"0\"}"), answered_line("other", "r", 200, {}) + "\n",
                                  answered_line("1", "r", 200, {}) + "\n" + answered_line("1", "r", 200, {}) + "\n"}) {
    write(output(), text);
    EXPECT_THAT(refusal(), HasSubstr("out: line ")) << text;
    EXPECT_EQ(read(output()), text) << "as it was";
  }
}

TEST_F(Offline, NamesWhatIsWrong) {
  OfflineBatch first(input(), output());
  EXPECT_THAT(refusal(), HasSubstr("another process writes to it"));
  write(input(), "{}\n[]\n");
  EXPECT_THAT(refusal(), HasSubstr("in: line 1: custom_id is missing (and 1 lines more are at fault)"));
  fs::remove(input());
  EXPECT_THAT(refusal(), HasSubstr("cannot read"));
}

}  // namespace
}  // namespace echelon
