// A client's JSON: what parsers might read differently, or nobody should have to read, is a 400.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "frontend/openai/json_reader.h"

namespace echelon {
namespace {

using namespace std::string_literals;

std::string code_of(const std::string& body) {
  const auto result = parse_json_object(body);
  return result.has_error() ? result.error().code : "";
}

std::string nested(size_t depth) {
  return R"({"a":)" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

TEST(Json, DepthIsBounded) {
  EXPECT_EQ(code_of(nested(kMaxBodyDepth)), "");
  EXPECT_EQ(code_of(nested(kMaxBodyDepth + 1)), "invalid_json");
  EXPECT_EQ(code_of(std::string(1 << 20, '[')), "invalid_json");
  EXPECT_EQ(code_of(R"({"a":)" + std::string(1 << 20, '{')), "invalid_json");
}

TEST(Json, ANameStandsOnceInAnObject) {
  for (const char* good : {R"({"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]})", R"({"a":1,"A":1,"a ":1,"":1})", "{}"})
    EXPECT_EQ(code_of(good), "") << good;
  for (const char* bad :
       {R"({"a":1,"a":1})", R"({"a":1,"b":2,"a":null})", R"({"a":1,"\u0061":2})", R"({"":1,"":2})",
        R"({"b":{"a":1,"c":[],"a":2}})", R"({"b":[{"x":{}},{"a":1,"a":1}]})", R"({"a":{"b":1},"c":1,"a":{"b":2}})"})
    EXPECT_EQ(code_of(bad), "invalid_json") << bad;
  EXPECT_NE(parse_json_object(R"({"x":{"seed":1,"seed":2}})").error().message.find("\"seed\" twice"),
            std::string::npos);
  const std::string long_name(100'000, 'n');  // comes in parts
  EXPECT_EQ(code_of("{\"" + long_name + "\":1,\"" + long_name + "b\":1}"), "");
  EXPECT_EQ(code_of("{\"" + long_name + "\":1,\"" + long_name + "\":1}"), "invalid_json");
  const auto taken = parse_json_object(R"({"a":1,"a":2})", true);
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->at("a"), 2);
}

TEST(Json, AnObjectHasABoundedNumberOfMembers) {
  std::string members;
  for (int i = 0; i < 70'000; ++i) members += fmt::format("\"{}\":0,", i);
  EXPECT_EQ(code_of("{" + members + "\"x\":0}"), "invalid_json");
}

TEST(Json, TextIsUnicode) {
  for (const std::string& good : {"\xc3\xa9"s, "\xf0\x9f\x98\x80"s, "\xef\xbf\xbf"s, R"(\ud83d\ude00)"s, R"(\u0000)"s})
    EXPECT_EQ(code_of("{\"a\":\"" + good + "\"}"), "") << good;
  for (const std::string& bad :
       {"\xff"s, "\x80"s, "\xc0\x80"s, "\xc3("s, "\xe2\x82"s, "\xe0\x80\xaf"s, "\xed\xa0\x80"s, "\xf4\x90\x80\x80"s,
        "\xf8\x88\x80\x80\x80"s, R"(\ud800)"s, R"(\udc00)"s, R"(\ud800\u0041)"s, R"(\ud800\ud800)"s, R"(\ud800x)"s,
        R"(\u12)"s, R"(\x41)"s, "\n"s, "\0"s, "\x1f"s}) {
    EXPECT_EQ(code_of("{\"a\":\"" + bad + "\"}"), "invalid_json") << bad;
    EXPECT_EQ(code_of("{\"" + bad + "\":1}"), "invalid_json") << bad;
  }
  EXPECT_EQ(code_of("\xef\xbb\xbf{}"), "invalid_json") << "a byte order mark";
}

TEST(Json, NumbersAreJsons) {
  for (const char* good : {"-0", "1E5", "1e-999", "0.1", "123456789012345678901234567890"})
    EXPECT_EQ(code_of(std::string("{\"a\":") + good + "}"), "") << good;
  for (const char* bad :
       {"NaN", "nan", "Infinity", "-Infinity", "inf", "01", "+1", ".5", "1.", "0x1", "1e", "-", "1_0", "1,0"})
    EXPECT_EQ(code_of(std::string("{\"a\":") + bad + "}"), "invalid_json") << bad;
}

TEST(Json, WholeNumbersAreOfTheirRange) {
  const auto read = [](const std::string& number) {
    const auto object = parse_json_object("{\"n\":" + number + "}");
    std::optional<int64_t> out;
    if (object.has_error()) return out;
    JsonReader reader(*object);
    reader.read("n", out, -5, int64_t{1} << 62);
    EXPECT_EQ(reader.failed(), !out.has_value());
    return out;
  };
  EXPECT_EQ(read("-5"), -5);
  EXPECT_EQ(read("5.0"), 5);
  EXPECT_EQ(read("1e3"), 1000);
  EXPECT_EQ(read("4611686018427387904"), int64_t{1} << 62);
  for (const char* bad : {"-6", "4611686018427387905", "9223372036854775808", "18446744073709551615",
                          "18446744073709551616", "-9223372036854775809", "1e19", "1e308", "1e309", "1e999", "-1e999",
                          "1e99999999999999999999", "0.5", "1e-3", "true", "\"5\"", "[5]", "{}"})
    EXPECT_EQ(read(bad), std::nullopt) << bad;
}

TEST(Json, OneValueAndNothingElse) {
  for (const char* bad :
       {"",     " ",         "{",     "{\"a\"",  "{\"a\":", "{\"a\":1",     "{\"a\":1,",     "{\"a\":1,}",
        "{,}",  "{\"a\" 1}", "{a:1}", "{'a':1}", "{}{}",    "{} x",         "{}\x01",        "/**/{}",
        "{}//", "[]",        "null",  "\"a\"",   "tru",     "{\"a\":[1,]}", "{\"a\":[1 2]}", "{\"a\":}"})
    EXPECT_EQ(code_of(bad), "invalid_json") << bad;
  EXPECT_EQ(code_of(" \t\r\n{} \t\r\n"), "");
  EXPECT_EQ(code_of("{}\0"s), "invalid_json");
}

}  // namespace
}  // namespace echelon
