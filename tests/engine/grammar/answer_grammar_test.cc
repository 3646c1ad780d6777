// Answers of several parts: which texts they are, and control tokens in them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/reference.h"

namespace echelon {
namespace {

constexpr std::string_view kCalls =
    R"("calls":{"trigger":"<c>","open":[""],"separator":";","close":"","only_one":false,"tags":[
       {"begin":"<c>f","schema":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],
        "additionalProperties":false},"end":"</c>","strict":true,"name":"tools[0]"},
       {"begin":"<c>g","schema":{"type":"null"},"end":"</c>","strict":false,"name":"tools[1]"}]})";

bool fits(const std::string& description, std::string_view text) {
  return accepts(compile(GrammarKind::answer, description), text);
}

TEST(AnswerGrammar, TextThenCalls) {
  const std::string answer = "{\"content\":null," + std::string(kCalls) + "}";
  for (const std::string_view text : {"", "anything < at all <", "<c>f{\"a\": 1}</c>", "so <c>gnull</c>",
                                      "<c>f{\"a\":1}</c>;<c>gnull</c>;<c>gnull</c>", "é\n<<c>gnull</c>"})
    EXPECT_TRUE(fits(answer, text)) << text;
  for (const std::string_view text : {"<c>", "<c>h", "a<c>b", "<c>f{}</c>", "<c>f{\"a\":1}", "<c>gnull</c> more",
                                      "<c>gnull</c><c>gnull</c>", "<c>f{\"a\":1,\"b\":2}</c>"})
    EXPECT_FALSE(fits(answer, text)) << text;
}

TEST(AnswerGrammar, CallsAlone) {
  const std::string answer = "{" + std::string(kCalls) + "}";
  EXPECT_TRUE(fits(answer, "<c>gnull</c>"));
  EXPECT_FALSE(fits(answer, ""));
  EXPECT_FALSE(fits(answer, "text <c>gnull</c>"));
}

TEST(AnswerGrammar, ContentIsCallsOrWhatItMustBe) {
  const std::string answer = R"({"content":{"kind":2,"text":"a+"},)" + std::string(kCalls) + "}";
  for (const std::string_view text : {"a", "aaa", "<c>gnull</c>"}) EXPECT_TRUE(fits(answer, text)) << text;
  for (const std::string_view text : {"", "b", "a<c>gnull</c>"}) EXPECT_FALSE(fits(answer, text)) << text;
}

TEST(AnswerGrammar, CallsWithoutTriggerStandAtTheBeginning) {
  const std::string answer = R"({"content":null,"calls":{"open":["","#"],"separator":"","close":"","only_one":true,
    "tags":[{"begin":"{f ","schema":{"type":"null"},"end":"}","strict":true,"name":"t"}]}})";
  for (const std::string_view text : {"", "{", "{f", "{g", "x{f null}x", "{f null}", "#{f null}", "# {f"})
    EXPECT_TRUE(fits(answer, text)) << text;
  for (const std::string_view text : {"{f ", "{f 1}", "{f null}{f null}", "{f null} x"})
    EXPECT_FALSE(fits(answer, text)) << text;
}

TEST(AnswerGrammar, Reasoning) {
  const auto answer = [](bool is_open) {
    return R"({"reasoning":{"begin":"<t>","end":"</t>","is_open":)" + std::string(is_open ? "true" : "false") +
           "},\"content\":null," + std::string(kCalls) + "}";
  };
  for (const std::string_view text : {"", "text", "<t>a <c> b</t>", "\n<t></t>\n\n<c>gnull</c>", "<t></t>text", "a<t>"})
    EXPECT_TRUE(fits(answer(false), text)) << text;
  for (const std::string_view text : {"<t>", "<t>a", "<t></t><c>"}) EXPECT_FALSE(fits(answer(false), text)) << text;
  for (const std::string_view text : {"a</t>", "a <c></t>\ntext", "</t><c>gnull</c>"})
    EXPECT_TRUE(fits(answer(true), text)) << text;
  for (const std::string_view text : {"", "a", "<c>gnull</c>"}) EXPECT_FALSE(fits(answer(true), text)) << text;
  const std::string forced =
      R"({"reasoning":{"begin":"<t>","end":"</t>","is_open":false},"content":{"kind":2,"text":"b"}})";
  for (const std::string_view text : {"b", "<t>a</t>\n\nb"}) EXPECT_TRUE(fits(forced, text)) << text;
  for (const std::string_view text : {"<t>a</t>", "<t>b", "ab"}) EXPECT_FALSE(fits(forced, text)) << text;
}

TEST(AnswerGrammar, ControlTokensStandOnlyWhereTheyAreNamed) {
  const std::string answer =
      R"({"content":null,"control":["<c>","a control token that is longer than what a string holds itself"],)" +
      std::string(kCalls) + "}";
  EXPECT_TRUE(fits(answer, "text \xFF<c>gnull</c>"));
  EXPECT_TRUE(fits(answer, "text <c>gnull</c>"));
  EXPECT_FALSE(fits(answer, "text \xFF<d>"));
  EXPECT_FALSE(fits(answer, "\xFF"));
  EXPECT_FALSE(fits("{\"content\":null," + std::string(kCalls) + "}", "\xFF<c>gnull</c>"));
}

TEST(AnswerGrammar, OnlyStrictSchemasMustBeEnforceable) {
  const auto answer = [](bool strict) {
    return R"({"calls":{"trigger":"<","open":[""],"separator":"","close":"","only_one":true,"tags":[{"begin":"<",
      "schema":{"type":"array","uniqueItems":true},"end":">","name":"tools[3].parameters","strict":)" +
           std::string(strict ? "true" : "false") + "}]}}";
  };
  EXPECT_TRUE(fits(answer(false), R"(<{"any": ["object"]}>)"));
  try {
    fits(answer(true), "");
    FAIL();
  } catch (const GrammarError& error) {
    EXPECT_NE(std::string(error.what()).find("tools[3].parameters: "), std::string::npos) << error.what();
  }
}

TEST(AnswerGrammar, TooLargeSchemasThatAreNotStrictBecomeAnyObject) {
  std::string properties;
  for (int i = 0; i < 400; ++i)
    properties += fmt::format("{}\"property_{}\":{{\"type\":\"string\",\"maxLength\":900}}", i == 0 ? "" : ",", i);
  const std::string answer = R"({"calls":{"trigger":"<","open":[""],"separator":"","close":"","only_one":true,"tags":[
      {"begin":"<","schema":{"type":"object","properties":{)" +
                             properties + R"(}},"end":">","name":"t","strict":false}]}})";
  EXPECT_TRUE(fits(answer, R"(<{"other":1}>)"));
}

}  // namespace
}  // namespace echelon
