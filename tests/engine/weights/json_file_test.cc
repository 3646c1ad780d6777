// Typed access to JSON: values, what counts as absent, and errors that name file and field.
#include "engine/weights/json_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr std::string_view kConfig =
    R"({"hidden_size": 576, "rope_theta": 1e6, "eps": 1e-05, "tie": true, "type": "llama",
  "sliding_window": null, "eos": [2, 7], "bos": 1, "architectures": ["LlamaForCausalLM"],
  "rope_scaling": {"factor": 8.0, "kind": "llama3"}, "fraction": 1.5, "big": 18446744073709551615})";

TEST(JsonObject, ValuesArriveTyped) {
  const JsonObject config = parse_json_object(kConfig, "config.json");
  EXPECT_EQ(config.get_int("hidden_size"), 576);
  EXPECT_EQ(config.get_int("rope_theta"), 1000000);
  EXPECT_EQ(config.get_float("rope_theta"), 1e6);
  EXPECT_EQ(config.get_float("hidden_size"), 576.0);
  EXPECT_EQ(config.get_float("eps"), 1e-5);
  EXPECT_TRUE(config.get_bool("tie"));
  EXPECT_EQ(config.get_string("type"), "llama");
  EXPECT_FALSE(config.has("sliding_window"));
  EXPECT_FALSE(config.find_int("sliding_window"));
  EXPECT_THAT(*config.find_ints("eos"), ElementsAre(2, 7));
  EXPECT_THAT(*config.find_ints("bos"), ElementsAre(1));
  EXPECT_THAT(config.get_strings("architectures"), ElementsAre("LlamaForCausalLM"));
  EXPECT_EQ(config.get_object("rope_scaling").get_float("factor"), 8.0);
}

TEST(JsonObject, ErrorsNameFileAndField) {
  const JsonObject config = parse_json_object(kConfig, "config.json");
  EXPECT_THAT(error_of([&] { config.get_int("type"); }), HasSubstr("config.json: \"type\" is a string; an integer"));
  EXPECT_THAT(error_of([&] { config.get_int("fraction"); }), HasSubstr("\"fraction\" is a number; an integer"));
  EXPECT_THAT(error_of([&] { config.get_int("big"); }), HasSubstr("\"big\" is an integer; an integer of 64 bits"));
  EXPECT_THAT(error_of([&] { config.get_int("sliding_window"); }),
              HasSubstr("\"sliding_window\" (an integer) is missing"));
  EXPECT_THAT(error_of([&] { config.get_object("rope_scaling").get_int("kind"); }),
              HasSubstr("config.json: rope_scaling: \"kind\" is a string"));
  EXPECT_THAT(error_of([&] { config.find_ints("architectures"); }), HasSubstr("a list of integers"));
}

TEST(JsonObject, AChildOutlivesItsParent) {
  auto child = parse_json_object(kConfig, "config.json").get_object("rope_scaling");
  EXPECT_EQ(child.get_string("kind"), "llama3");
}

TEST(JsonBroken, SyntaxDepthAndDuplicates) {
  EXPECT_THAT(error_of([] { parse_json_object("{\"a\": }", "x.json"); }),
              HasSubstr("x.json: not valid JSON at byte 6"));
  EXPECT_THAT(error_of([] { parse_json_object("", "x.json"); }), HasSubstr("x.json: not valid JSON"));
  EXPECT_THAT(error_of([] { parse_json_object("{} {}", "x.json"); }), HasSubstr("x.json: not valid JSON"));
  EXPECT_THAT(error_of([] { parse_json_object("{\"a\": \"\xff\"}", "x.json"); }), HasSubstr("x.json: not valid JSON"));
  EXPECT_THAT(error_of([] { parse_json_object("3", "x.json"); }), HasSubstr("an object is needed"));
  EXPECT_THAT(error_of([] { parse_json_object("{\"a\": " + std::string(1000, '['), "x.json"); }), HasSubstr("deep"));
  EXPECT_THAT(error_of([] { parse_json_object(R"({"b": {"a": 1, "\u0061": 2}})", "x.json"); }),
              HasSubstr("x.json: the key \"a\" occurs twice"));
  EXPECT_EQ(parse_json_object(R"({"b": {"a": 1}, "a": 2})", "x.json").get_int("a"), 2);
}

TEST(JsonBroken, TooLargeIsRefusedUnparsed) {
  const std::string text(kMaxJsonBytes + 1, ' ');
  EXPECT_THAT(error_of([&] { parse_json_object(text, "x.json"); }), HasSubstr("at most 16777216 are allowed"));
}

}  // namespace
}  // namespace echelon
