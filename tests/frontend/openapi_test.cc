// /openapi.json against what the server does: every route, every reference, and bodies that keep to a schema or not.
// tests/clients/schemathesis_client.py does that at large.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <set>

#include "frontend/front_end.h"
#include "frontend/openai/json_reader.h"
#include "frontend/routes.h"
#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/script_engine.h"

namespace echelon {
namespace {

namespace json = boost::json;
using testing::ask;
using testing::get_text;
using testing::post_text;

json::object described_text(void (*read)(JsonReader&)) { return described(read); }

TEST(ObjectSchema, SaysTypesRangesAndDefaultsOfWhatIsRead) {
  const json::object schema = described_text([](JsonReader& reader) {
    bool flag = true;
    float share = 0.7f;
    int count = 3;
    std::optional<int64_t> seed;
    std::string name, word;
    constexpr std::string_view kWords[] = {"one", "two"};
    reader.read("flag", flag);
    reader.read("share", share, {0, 1, true});
    reader.read("count", count, 1, 16);
    reader.read("seed", seed, -5, 5);
    reader.require("name");
    reader.read("name", name);
    reader.read_word("word", word, kWords);
    reader.refuse_others(kWords);
    reader.fail("name", "nothing is wrong while there is nothing");
    EXPECT_FALSE(reader.failed());
  });
  EXPECT_EQ(json::value(schema), json::parse(R"({
    "type": "object", "required": ["name"], "additionalProperties": false, "properties": {
      "flag": {"type": ["boolean", "null"], "default": true},
      "share": {"type": ["number", "null"], "exclusiveMinimum": 0.0, "maximum": 1.0, "default": 0.7},
      "count": {"type": ["integer", "null"], "minimum": 1, "maximum": 16, "default": 3},
      "seed": {"type": ["integer", "null"], "minimum": -5, "maximum": 5},
      "name": {"type": "string"},
      "word": {"type": ["string", "null"], "enum": ["one", "two", null]},
      "one": {}, "two": {}}})"));
}

TEST(ObjectSchema, KindsOfAnObjectShareWhatStandsBesideThem) {
  const json::object schema = described_text([](JsonReader& reader) {
    constexpr std::string_view kKinds[] = {"a", "b"};
    std::string id;
    reader.read("id", id);
    read_case(reader, "kind", kKinds, "b", [](JsonReader& members, std::string_view kind) {
      if (kind == "a") members.require("of_a");
    });
  });
  const auto& kinds = schema.at("anyOf").as_array();
  ASSERT_EQ(kinds.size(), 2u);
  EXPECT_EQ(kinds[0].at("required"), json::parse(R"(["kind", "of_a"])"));
  EXPECT_TRUE(kinds[0].at("properties").as_object().contains("id"));
  EXPECT_FALSE(kinds[1].as_object().contains("required")) << "b is the kind of an object that names none";
  EXPECT_FALSE(kinds[1].at("properties").as_object().contains("of_a"));
}

class OpenApi : public testing::FrontEndTest {
 protected:
  void SetUp() override { start(); }
  json::value document() const { return ask(port_, get_text("/openapi.json")).json(); }
};

void collect_references(const json::value& value, std::set<std::string>& found) {
  if (value.is_array()) {
    for (const json::value& one : value.get_array()) collect_references(one, found);
  } else if (value.is_object()) {
    for (const auto& member : value.get_object()) {
      if (member.key() == "$ref") found.emplace(member.value().as_string());
      collect_references(member.value(), found);
    }
  }
}

TEST_F(OpenApi, HasEveryRouteAndEverySchemaThatIsReferredTo) {
  const json::value api = document();
  size_t num_operations = 0;
  for (const auto& path : api.at("paths").as_object()) num_operations += path.value().as_object().size();
  EXPECT_EQ(num_operations, routes().size());
  EXPECT_TRUE(api.at("paths").as_object().contains("/v1/models/{model}"));
  std::set<std::string> references;
  collect_references(api, references);
  EXPECT_TRUE(references.contains("#/components/schemas/ChatCompletion"));
  const auto& schemas = api.at("components").at("schemas").as_object();
  for (const std::string& reference : references) {
    constexpr std::string_view kPlace = "#/components/schemas/";
    ASSERT_TRUE(reference.starts_with(kPlace)) << reference;
    EXPECT_TRUE(schemas.contains(reference.substr(kPlace.size()))) << reference;
  }
}

TEST_F(OpenApi, SaysWhatTheModelsDefaultsAreAndWhatIsRequired) {
  const json::value api = document();
  const auto body = [&](std::string_view path) {
    return api.at("paths").at(path).at("post").at("requestBody").at("content").at("application/json").at("schema");
  };
  const json::value chat = body("/v1/chat/completions");
  EXPECT_EQ(chat.at("required"), json::parse(R"(["messages"])"));
  EXPECT_EQ(chat.at("properties").at("messages").at("items").at("anyOf").as_array().size(), 5u) << "roles";
  EXPECT_EQ(chat.at("properties").at("model").at("enum").at(0), "small");
  EXPECT_EQ(chat.at("properties").at("temperature").at("default"), engine_.model()->default_sampling.temperature);
  EXPECT_EQ(chat.at("properties").at("allowed_token_ids").at("items").at("maximum"), testing::kSmallVocab - 1);
  EXPECT_EQ(body("/v1/completions").at("required"), json::parse(R"(["prompt"])"));
  EXPECT_EQ(body("/v1/responses").at("required"), json::parse(R"(["input"])"));
  EXPECT_EQ(body("/v1/messages").at("required"), json::parse(R"(["model", "messages", "max_tokens"])"));
  EXPECT_EQ(body("/tokenize").at("anyOf").as_array().size(), 2u);
  EXPECT_EQ(api.at("paths").at("/v1/files").at("get").at("parameters").as_array().size(), 4u);
}

/// What the document says of a member is what the server does with it: a value of no type that it may have is refused.
TEST_F(OpenApi, WhatIsOfAnotherTypeIsRefused) {
  const json::value api = document();
  for (const std::string path : {"/v1/chat/completions", "/v1/completions"}) {
    const json::value schema =
        api.at("paths").at(path).at("post").at("requestBody").at("content").at("application/json").at("schema");
    json::object valid = path == "/v1/completions"
                             ? json::object{{"prompt", "a"}}
                             : json::parse(R"({"messages":[{"role":"user","content":"a"}]})").as_object();
    valid["max_tokens"] = 1;
    EXPECT_EQ(ask(port_, post_text(path, json::serialize(valid))).status, 200);
    int num_tried = 0;
    for (const auto& member : schema.at("properties").as_object()) {
      const json::value* type = member.value().as_object().if_contains("type");
      const bool takes_text = type == nullptr || json::serialize(*type).find("string") != std::string::npos;
      if (takes_text) continue;
      json::object body = valid;
      body[member.key()] = "text";
      EXPECT_EQ(ask(port_, post_text(path, json::serialize(body))).status, 400) << path << member.key();
      ++num_tried;
    }
    EXPECT_GT(num_tried, 20);
  }
}

TEST_F(OpenApi, ThePageBringsNothingFromElsewhere) {
  const auto page = ask(port_, get_text("/docs"));
  EXPECT_EQ(page.status, 200);
  EXPECT_TRUE(page.field("Content-Type").starts_with("text/html"));
  EXPECT_NE(page.field("Content-Security-Policy").find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(page.body.find("http:"), std::string::npos);
  EXPECT_EQ(page.body.find("https:"), std::string::npos);
}

}  // namespace
}  // namespace echelon
