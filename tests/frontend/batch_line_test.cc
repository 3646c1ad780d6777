// Lines of batches: what is read, what is refused and how that is told, and files of them.
#include "frontend/batch/batch_line.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <fstream>

namespace echelon {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGood =
    R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":"x","temperature":0.7,"seed":9007199254740993}})";

TEST(BatchLine, IsRead) {
  const auto line = parse_batch_line(kGood, nullptr);
  ASSERT_TRUE(line.has_value()) << line.error().message;
  EXPECT_EQ(line->custom_id, "a");
  EXPECT_EQ(line->endpoint, &kCompletionsEndpoint);
  EXPECT_EQ(boost::json::parse(line->body), boost::json::parse(kGood).at("body")) << "numbers keep their values";
  EXPECT_TRUE(parse_batch_line(kGood, &kCompletionsEndpoint).has_value());
  EXPECT_EQ(batch_endpoint("/v1/embeddings"), &kEmbeddingsEndpoint);
  EXPECT_EQ(batch_endpoint("/v1/rerank"), nullptr);
}

TEST(BatchLine, RefusalsNameTheMember) {
  struct Case {
    std::string text, param, code;
  };
  const std::string long_id(kMaxCustomIdBytes + 1, 'x');
  for (const Case& each : std::vector<Case>{
           {"", "", "invalid_json_line"},
           {"[1]", "", "invalid_json_line"},
           {"{} {}", "", "invalid_json_line"},
           {R"({"method":"POST","url":"/v1/completions","body":{}})", "custom_id", "missing_required_parameter"},
           {R"({"custom_id":1,"method":"POST","url":"/v1/completions","body":{}})", "custom_id", ""},
           {R"({"custom_id":"","method":"POST","url":"/v1/completions","body":{}})", "custom_id", "invalid_custom_id"},
           {R"({"custom_id":")" + long_id + R"(","method":"POST","url":"/v1/completions","body":{}})", "custom_id",
            "invalid_custom_id"},
           {R"({"custom_id":"a","url":"/v1/completions","body":{}})", "method", "missing_required_parameter"},
           {R"({"custom_id":"a","method":"GET","url":"/v1/completions","body":{}})", "method", "invalid_method"},
           {R"({"custom_id":"a","method":"POST","body":{}})", "url", "missing_required_parameter"},
           {R"({"custom_id":"a","method":"POST","url":"/v1/messages","body":{}})", "url", "invalid_url"},
           {R"({"custom_id":"a","method":"POST","url":"/v1/responses","body":{}})", "url", "mismatched_url"},
           {R"({"custom_id":"a","method":"POST","url":"/v1/completions"})", "body", "missing_required_parameter"},
           {R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":[]})", "body", "invalid_body"},
           {R"({"custom_id":"a","method":"POST","url":"/v1/completions","body":{},"extra":1})", "extra",
            "unknown_parameter"},
       }) {
    const auto line = parse_batch_line(each.text, &kCompletionsEndpoint);
    ASSERT_TRUE(line.has_error()) << each.text;
    EXPECT_EQ(line.error().param, each.param) << each.text;
    EXPECT_EQ(line.error().code, each.code) << each.text;
  }
}

TEST(BatchLine, AnswersHaveOpenAisShape) {
  const auto answered = boost::json::parse(answered_line("a\n", "req", 200, {{"x", 1}}));
  EXPECT_TRUE(answered.at("id").as_string().starts_with("batch_req_"));
  EXPECT_EQ(answered.at("custom_id"), "a\n");
  EXPECT_EQ(answered.at("response"),
            (boost::json::value{{"status_code", 200}, {"request_id", "req"}, {"body", {{"x", 1}}}}));
  EXPECT_TRUE(answered.at("error").is_null());
  EXPECT_EQ(answered_line("a\n", "req", 200, {}).find('\n'), std::string::npos) << "one line is one line";
  const auto unanswered = boost::json::parse(unanswered_line("a", "code", "why"));
  EXPECT_TRUE(unanswered.at("response").is_null());
  EXPECT_EQ(unanswered.at("error").at("code"), "code");
}

class BatchFile : public ::testing::Test {
 protected:
  void SetUp() override { path_ = fs::temp_directory_path() / ("echelon_lines_" + std::to_string(getpid())); }
  void TearDown() override { fs::remove(path_); }
  void write(std::string_view text) { std::ofstream(path_, std::ios::binary) << text; }
  boost::json::array faults_of(std::string_view text) {
    write(text);
    LineReader reader(path_);
    BatchCheck check(&kCompletionsEndpoint);
    while (const auto line = reader.next()) {
      if (!check.add(*line)) break;
    }
    check.end();
    num_requests_ = check.num_requests();
    return check.faults();
  }
  fs::path path_;
  int64_t num_requests_ = 0;
};

TEST_F(BatchFile, IsReadByLines) {
  write("one\r\n\n  \ntwo\n\nlast");
  LineReader reader(path_);
  std::vector<std::pair<int64_t, std::string>> lines;
  while (const auto line = reader.next()) lines.emplace_back(line->number, line->text);
  EXPECT_EQ(lines, (std::vector<std::pair<int64_t, std::string>>{{1, "one\r"}, {4, "two"}, {6, "last"}}));
  write("a\n" + std::string(kMaxBatchLineBytes + 1, 'x') + "\nb\n" + std::string(kMaxBatchLineBytes, 'y'));
  LineReader large(path_);
  EXPECT_FALSE(large.next()->too_long);
  const auto cut = large.next();
  EXPECT_TRUE(cut->too_long);
  EXPECT_TRUE(cut->text.empty());
  EXPECT_EQ(large.next()->text, "b");
  EXPECT_EQ(large.next()->text.size(), kMaxBatchLineBytes);
  EXPECT_FALSE(large.next().has_value());
}

TEST_F(BatchFile, FaultsNameTheirLines) {
  const std::string good(kGood);
  EXPECT_TRUE(faults_of(good + "\n").empty());
  EXPECT_EQ(num_requests_, 1);
  const auto faults = faults_of("\n" + good + "\n{}\n" + good + "\n");
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_EQ(faults[0].at("line"), 3);
  EXPECT_EQ(faults[0].at("param"), "custom_id");
  EXPECT_EQ(faults[1].at("line"), 4);
  EXPECT_EQ(faults[1].at("code"), "duplicate_custom_id");
  EXPECT_EQ(faults_of("\n\n").at(0).at("code"), "empty_file");
  std::string bad;
  for (size_t i = 0; i < 2 * kMaxBatchFaults; ++i) bad += "{}\n";
  EXPECT_EQ(faults_of(bad).size(), kMaxBatchFaults);
}

TEST_F(BatchFile, MayHaveSoManyRequests) {
  const auto lines = [](int64_t count) {
    std::string text;
    for (int64_t i = 0; i < count; ++i)
      text +=
          R"({"custom_id":")" + std::to_string(i) + R"(","method":"POST","url":"/v1/completions","body":{}})" + "\n";
    return text;
  };
  EXPECT_TRUE(faults_of(lines(kMaxBatchRequests)).empty());
  const auto faults = faults_of(lines(kMaxBatchRequests + 1));
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].at("code"), "too_many_requests");
}

}  // namespace
}  // namespace echelon
