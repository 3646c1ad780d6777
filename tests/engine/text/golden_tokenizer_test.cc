// The tokenizers of the two real models equal the oracles of tests/golden in both columns, give every text back, and
// take time that grows with the text and not with its square, whatever the text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "engine/text/utf8.h"
#include "tests/engine/text/model_vocabulary.h"

namespace echelon::test {
namespace {

std::vector<TokenId> read_ids(const boost::json::value& value) {
  std::vector<TokenId> ids;
  for (const auto& id : value.as_array()) ids.push_back(static_cast<TokenId>(id.as_int64()));
  return ids;
}

struct Model {
  const char* name;
  const char* file;
  const char* oracle;
};

class GoldenTokenizer : public testing::TestWithParam<Model> {
 protected:
  static const Tokenizer& tokenizer() {
    static std::map<std::string, std::unique_ptr<Tokenizer>> made;
    auto& entry = made[GetParam().file];
    if (!entry) entry = make_tokenizer(model_vocabulary(GetParam().file));
    return *entry;
  }
  static boost::json::value oracle() { return boost::json::parse(golden_file(GetParam().oracle)); }
};

TEST_P(GoldenTokenizer, EqualsTheOracleInBothColumns) {
  const auto golden = oracle();
  const auto& cases = golden.at("cases").as_array();
  EXPECT_EQ(cases.size(), 123u);
  for (const auto& entry : cases) {
    const std::string text(entry.at("text").as_string());
    EXPECT_EQ(tokenizer().encode(text), read_ids(entry.at("ids"))) << text;
    EXPECT_EQ(tokenizer().encode(text, {.parse_special = true}), read_ids(entry.at("ids_special"))) << text;
  }
}

TEST_P(GoldenTokenizer, GivesTextsBack) {
  const auto golden = oracle();
  for (const auto& entry : golden.at("cases").as_array()) {
    const std::string text(entry.at("text").as_string());
    if (text.find("\U0010FFFF") != std::string::npos) continue;  // SmolLM2 has no token for the byte 0xF4
    EXPECT_EQ(tokenizer().decode(tokenizer().encode(text)), text);
    const auto special = tokenizer().encode(text, {.parse_special = true});
    EXPECT_EQ(tokenizer().decode(special, {.skip_special = false}), text);
  }
}

TEST_P(GoldenTokenizer, HostileTextsAreEncodedAndComeBack) {
  constexpr size_t kBytes = 1 << 20;
  for (const std::string unit :
       {"a", " ", "\n", "\U0001F642", "\u0301", "1", ".", "\t", "'", "<", "a ", "\r\n", "\u4e00", "e\u0301"}) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    const auto ids = tokenizer().encode(text, {.parse_special = true});
    EXPECT_EQ(tokenizer().decode(ids), text) << "repeated " << unit;
  }
}

TEST_P(GoldenTokenizer, BrokenUtf8IsKeptAsBytes) {
  const std::string text = "ok \xe6\x97 \x80 end";
  std::string bytes;
  for (const TokenId id : tokenizer().encode(text)) bytes += tokenizer().token_bytes(id);
  EXPECT_EQ(bytes, text);
  EXPECT_EQ(tokenizer().decode(tokenizer().encode(text)), "ok \ufffd \ufffd end");
}

TEST_P(GoldenTokenizer, KnowsTheEndsOfATurn) {
  std::vector<std::string> spellings;
  for (const TokenId id : tokenizer().end_of_generation_ids()) {
    spellings.emplace_back(tokenizer().spelling(id));
    EXPECT_TRUE(tokenizer().is_end_of_generation(id));
    EXPECT_TRUE(tokenizer().is_special(id));
  }
  const bool gemma = std::string_view(GetParam().name) == "Gemma";
  EXPECT_THAT(spellings, gemma ? testing::ElementsAre("<eos>", "<end_of_turn>")
                               : testing::ElementsAre("<|endoftext|>", "<|im_end|>"));
}

TEST_P(GoldenTokenizer, AddsBosWhereTheModelWantsIt) {
  const auto plain = tokenizer().encode("hi");
  const auto with = tokenizer().encode("hi", {.add_special = true});
  if (tokenizer().adds_bos()) {
    ASSERT_EQ(with.size(), plain.size() + 1);
    EXPECT_EQ(with.front(), *tokenizer().bos_id());
  } else {
    EXPECT_EQ(with, plain);
  }
}

TEST_P(GoldenTokenizer, IdsOutsideTheVocabularyAreHarmless) {
  for (const TokenId id : {-1, static_cast<TokenId>(tokenizer().vocabulary_size()), INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer().token_bytes(id), "");
    EXPECT_EQ(tokenizer().spelling(id), "");
    EXPECT_FALSE(tokenizer().is_special(id));
    EXPECT_FALSE(tokenizer().is_end_of_generation(id));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTokenizer,
                         testing::Values(Model{"SmolLM2", kSmollmFile, "tokenizer-smollm2.json"},
                                         Model{"Gemma", kGemmaFile, "tokenizer-gemma3.json"}),
                         [](const auto& model) { return std::string(model.param.name); });

}  // namespace
}  // namespace echelon::test
