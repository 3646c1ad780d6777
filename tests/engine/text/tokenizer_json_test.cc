// tokenizer.json files in the forms of the known families give the ids and texts that Hugging Face tokenizers gives
// (tests/golden/make_tokenizers.py), and broken ones are errors that name what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "engine/text/tokenizer.h"
#include "kernels/base/error.h"
#include "tests/engine/text/model_vocabulary.h"

namespace echelon::test {
namespace {

using testing::HasSubstr;

std::vector<TokenId> read_ids(const boost::json::value& value) {
  std::vector<TokenId> ids;
  for (const auto& id : value.as_array()) ids.push_back(static_cast<TokenId>(id.as_int64()));
  return ids;
}

const boost::json::value& golden() {
  static const boost::json::value parsed = boost::json::parse(golden_file("tokenizer-hf.json"));
  return parsed;
}

TEST(TokenizerJson, EqualsHuggingFaceTokenizers) {
  const auto& texts = golden().at("texts").as_array();
  ASSERT_GT(texts.size(), 100u);
  ASSERT_EQ(golden().at("tokenizers").as_array().size(), 9u);
  for (const auto& entry : golden().at("tokenizers").as_array()) {
    const std::string name(entry.at("name").as_string());
    const auto tokenizer = read_tokenizer_json(boost::json::serialize(entry.at("tokenizer")));
    EXPECT_EQ(tokenizer->encode("hello", {.add_special = true}), read_ids(entry.at("with_special"))) << name;
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::string text(texts[i].as_string());
      const auto literal = read_ids(entry.at("ids").at(i));
      const auto& parsed = entry.at("ids_special").at(i);
      EXPECT_EQ(tokenizer->encode(text), literal) << name << ": " << text;
      EXPECT_EQ(tokenizer->encode(text, {.parse_special = true}), parsed.is_null() ? literal : read_ids(parsed))
          << name << ": " << text;
      EXPECT_EQ(tokenizer->decode(literal), std::string_view(entry.at("decoded").at(i).as_string())) << name;
    }
  }
}

boost::json::value tokenizer_named(std::string_view name) {
  for (const auto& entry : golden().at("tokenizers").as_array()) {
    if (entry.at("name").as_string() == name) return entry.at("tokenizer");
  }
  throw std::runtime_error("no such tokenizer");
}

std::string message_of(const boost::json::value& json, std::string_view config = {}) {
  try {
    read_tokenizer_json(boost::json::serialize(json), config);
  } catch (const Error& error) {
    EXPECT_EQ(error.part(), Part::text);
    return error.what();
  }
  return "no error";
}

TEST(TokenizerJson, ErrorsNameWhatIsWrong) {
  const auto good = tokenizer_named("qwen2");
  EXPECT_EQ(message_of(good), "no error");
  EXPECT_THROW(read_tokenizer_json("{\"model\": "), Error);
  EXPECT_THROW(read_tokenizer_json("[]"), Error);
  auto broken = good;
  broken.at("model").as_object()["type"] = "Unigram";
  EXPECT_THAT(message_of(broken), HasSubstr("model.type"));
  broken = good;
  broken.at("model").at("merges").as_array().emplace_back("zzz yyy");
  EXPECT_THAT(message_of(broken), HasSubstr("'zzz', which is not in model.vocab"));
  broken = good;
  broken.at("model").at("merges").as_array().emplace_back("nospace");
  EXPECT_THAT(message_of(broken), HasSubstr("model.merges["));
  broken = good;
  broken.at("model").at("vocab").as_object()["far"] = int64_t{1} << 40;
  EXPECT_THAT(message_of(broken), HasSubstr("model.vocab['far']"));
  broken = good;
  broken.at("model").at("vocab").as_object()["negative"] = -1;
  EXPECT_THAT(message_of(broken), HasSubstr("model.vocab['negative']"));
  broken = good;
  broken.as_object()["normalizer"] = {{"type", "BertNormalizer"}};
  EXPECT_THAT(message_of(broken), HasSubstr("'BertNormalizer', which is not supported"));
  broken = good;
  broken.as_object()["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_THAT(message_of(broken), HasSubstr("refused at offset"));
  EXPECT_THAT(message_of(good, R"({"eos_token": "<nowhere>"})"), HasSubstr("eos_token is '<nowhere>'"));
  EXPECT_THAT(message_of(good, R"({"add_bos_token": 1})"), HasSubstr("add_bos_token"));
}

TEST(TokenizerJson, AHostilePatternEndsWithAnError) {
  auto json = tokenizer_named("qwen2");
  json.as_object()["pre_tokenizer"].as_object()["pretokenizers"].as_array()[0].as_object()["pattern"] = {
      {"Regex", "(a+)+$"}};
  const auto tokenizer = read_tokenizer_json(boost::json::serialize(json));
  EXPECT_THROW(tokenizer->encode(std::string(40, 'a') + "b" + std::string(40, 'a') + "b"), Error);
}

TEST(TokenizerJson, AnUnknownPatternTakesBrokenUtf8) {
  const auto tokenizer = read_tokenizer_json(boost::json::serialize(tokenizer_named("unknown-pattern")));
  const std::string text =
      "\xff"
      "ab\xe6\x97 cd\x80";
  std::string bytes;
  for (const TokenId id : tokenizer->encode(text)) bytes += tokenizer->token_bytes(id);
  EXPECT_EQ(bytes, text);
}

TEST(TokenizerJson, ReadsTheConfiguration) {
  const auto config = read_tokenizer_config(R"({
    "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null, "add_bos_token": true,
    "chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]})");
  EXPECT_EQ(config.bos_token, "<s>");
  EXPECT_EQ(config.eos_token, "</s>");
  EXPECT_FALSE(config.pad_token);
  EXPECT_EQ(config.add_bos_token, true);
  EXPECT_FALSE(config.add_eos_token);
  EXPECT_EQ(config.chat_templates.at("default"), "A");
  EXPECT_EQ(config.chat_templates.at("tool_use"), "B");
  EXPECT_EQ(read_tokenizer_config(R"({"chat_template": "C"})").chat_templates.at("default"), "C");
  EXPECT_THROW(read_tokenizer_config(R"({"chat_template": [{"name": "x"}]})"), Error);
}

TEST(TokenizerJson, TheConfigurationDecidesAboutBosAndEos) {
  const auto json = boost::json::serialize(tokenizer_named("gemma"));
  const auto both = read_tokenizer_json(json);
  EXPECT_TRUE(both->adds_bos());
  EXPECT_TRUE(both->adds_eos());
  const auto only_bos =
      read_tokenizer_json(json, R"({"bos_token": "<s>", "eos_token": "</s>", "add_eos_token": false})");
  EXPECT_TRUE(only_bos->adds_bos());
  EXPECT_FALSE(only_bos->adds_eos());
  EXPECT_EQ(only_bos->eos_id(), only_bos->id_of("</s>"));
  EXPECT_TRUE(only_bos->is_end_of_generation(*only_bos->eos_id()));
}

}  // namespace
}  // namespace echelon::test
