// Inconsistent vocabularies are refused with a message that names the field; a vocabulary made by hand behaves as its
// metadata says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/text/template_check.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_parts.h"
#include "kernels/base/error.h"
#include "tests/engine/text/model_vocabulary.h"

namespace echelon::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

/// All bytes, "ab", "abc", and three control tokens.
Vocabulary byte_vocabulary() {
  Vocabulary vocabulary;
  vocabulary.pre_tokenizer = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.push_back(byte_to_spelling(static_cast<uint8_t>(byte)));
  vocabulary.tokens.insert(vocabulary.tokens.end(), {"ab", "abc", "<|im_start|>", "<|im_end|>", "<|endoftext|>"});
  vocabulary.token_types.assign(vocabulary.tokens.size(), 1);
  for (size_t id = 258; id < 261; ++id) vocabulary.token_types[id] = 3;
  vocabulary.merges = {"a b", "ab c"};
  vocabulary.bos_id = 260;
  vocabulary.eos_id = 259;
  return vocabulary;
}

/// Bytes, letters and the merged words of "▁ab".
Vocabulary sentencepiece_vocabulary() {
  Vocabulary vocabulary;
  vocabulary.kind = VocabularyKind::sentencepiece;
  vocabulary.tokens = {"<unk>", "<s>", "</s>"};
  vocabulary.token_types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(fallback_token_of_byte(static_cast<uint8_t>(byte)));
    vocabulary.token_types.push_back(6);
  }
  for (const char* piece : {"\u2581", "a", "b", "ab", "\u2581ab", "\u2581a"}) {
    vocabulary.tokens.emplace_back(piece);
    vocabulary.token_types.push_back(1);
  }
  vocabulary.scores.assign(vocabulary.tokens.size(), 0);
  vocabulary.scores[262] = -1;  // ab
  vocabulary.scores[263] = -2;  // ▁ab
  vocabulary.scores[264] = -3;  // ▁a
  vocabulary.unknown_id = 0;
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  return vocabulary;
}

std::string message_of(Vocabulary vocabulary) {
  try {
    make_tokenizer(std::move(vocabulary));
  } catch (const Error& error) {
    EXPECT_EQ(error.part(), Part::text);
    return error.what();
  }
  return "no error";
}

TEST(Vocabulary, InconsistentDataIsRefused) {
  EXPECT_EQ(message_of(byte_vocabulary()), "no error");
  EXPECT_EQ(message_of(sentencepiece_vocabulary()), "no error");
  const auto byte_error = [](auto change) {
    Vocabulary vocabulary = byte_vocabulary();
    change(vocabulary);
    return message_of(std::move(vocabulary));
  };
  const auto piece_error = [](auto change) {
    Vocabulary vocabulary = sentencepiece_vocabulary();
    change(vocabulary);
    return message_of(std::move(vocabulary));
  };
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.tokens.clear(); }), HasSubstr("tokenizer.ggml.tokens"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.token_types.pop_back(); }),
              HasSubstr("tokenizer.ggml.token_type has 260"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.token_types[3] = 7; }), HasSubstr("holds 7"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.token_types[3] = -1; }), HasSubstr("holds -1"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.merges.clear(); }), HasSubstr("tokenizer.ggml.merges"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.merges[1] = "a nothere"; }), HasSubstr("merges[1] names 'nothere'"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.merges[1] = "b c"; }), HasSubstr("merges[1] names 'bc'"));
  for (const char* merge : {"", " ", "ab", "ab ", " ab"}) {
    EXPECT_THAT(byte_error([&](Vocabulary& v) { v.merges[0] = merge; }), HasSubstr("merges[0]")) << merge;
  }
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.pre_tokenizer = "novel"; }), HasSubstr("tokenizer.ggml.pre is 'novel'"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.bos_id = 261; }), HasSubstr("bos_token_id is 261"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.eos_id = -1; }), HasSubstr("eos_token_id is -1"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.eot_id = int64_t{1} << 40; }), HasSubstr("eot_token_id"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.eom_id = 999; }), HasSubstr("eom_token_id"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.add_bos = true, v.bos_id.reset(); }), HasSubstr("add_bos_token"));
  EXPECT_THAT(byte_error([](Vocabulary& v) { v.tokens[258] = std::string(1 << 13, 'x'); }), HasSubstr("tokens[258]"));
  EXPECT_THAT(piece_error([](Vocabulary& v) { v.scores.pop_back(); }), HasSubstr("tokenizer.ggml.scores"));
  EXPECT_THAT(piece_error([](Vocabulary& v) { v.scores[9] = NAN; }), HasSubstr("scores[9]"));
  EXPECT_THAT(piece_error([](Vocabulary& v) { v.tokens[5] = "<0xZZ>"; }), HasSubstr("tokens[5]"));
}

TEST(Vocabulary, MergesByRank) {
  const auto tokenizer = make_tokenizer(byte_vocabulary());
  const TokenId a = *tokenizer->id_of("a"), b = *tokenizer->id_of("b"), ab = 256, abc = 257;
  EXPECT_EQ(tokenizer->encode("abcab"), (std::vector<TokenId>{abc, ab}));
  EXPECT_EQ(tokenizer->encode("aab"), (std::vector<TokenId>{a, ab}));
  EXPECT_EQ(tokenizer->encode("ba"), (std::vector<TokenId>{b, a}));
  EXPECT_EQ(tokenizer->encode("<|im_end|>", {.parse_special = true}), (std::vector<TokenId>{259}));
  EXPECT_EQ(tokenizer->encode("<|im_end|>").size(), 10u);
  EXPECT_EQ(tokenizer->encode("", {.parse_special = true, .add_special = true}), std::vector<TokenId>());
}

TEST(Vocabulary, MergesByScoreAndFallsBackToBytes) {
  auto vocabulary = sentencepiece_vocabulary();
  vocabulary.add_space_prefix = true;
  vocabulary.add_bos = vocabulary.add_eos = true;
  const auto tokenizer = make_tokenizer(std::move(vocabulary));
  EXPECT_EQ(tokenizer->encode("ab ab"), (std::vector<TokenId>{263, 263}));
  EXPECT_EQ(tokenizer->encode("ab", {.add_special = true}), (std::vector<TokenId>{1, 263, 2}));
  EXPECT_EQ(tokenizer->encode("\u00e9"), (std::vector<TokenId>{259, 3 + 0xc3, 3 + 0xa9}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("ab \u00e9")), "ab \u00e9");
  EXPECT_EQ(tokenizer->encode("ab<s>ab", {.parse_special = true}), (std::vector<TokenId>{263, 1, 263}));
}

TEST(Vocabulary, ShortAndLongWordsMergeAlike) {
  for (const Vocabulary& vocabulary : {byte_vocabulary(), sentencepiece_vocabulary()}) {
    const auto tokenizer = make_tokenizer(vocabulary);
    const std::string word = vocabulary.kind == VocabularyKind::byte_level_bpe ? "abc" : "ab";
    const std::vector<TokenId> once = tokenizer->encode(word);
    ASSERT_EQ(once.size(), 1u);
    std::string text;
    for (size_t count = 1; count < 80; ++count) {
      text += word;
      EXPECT_EQ(tokenizer->encode(text), std::vector<TokenId>(count, once[0])) << count;
    }
  }
}

TEST(Vocabulary, AThreadKeepsTheWordsOfEveryTokenizerApart) {
  Vocabulary fewer = byte_vocabulary();
  fewer.merges.pop_back();
  const auto one = make_tokenizer(byte_vocabulary()), other = make_tokenizer(fewer);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(one->encode("abc"), (std::vector<TokenId>{257}));
    EXPECT_EQ(other->encode("abc"), (std::vector<TokenId>{256, 'c'}));
  }
}

std::vector<std::string> texts_of(const std::vector<Mismatch>& found) {
  std::vector<std::string> texts;
  for (const Mismatch& mismatch : found) {
    texts.push_back((mismatch.severity == Mismatch::Severity::error ? "error: " : "warning: ") + mismatch.text);
  }
  return texts;
}

TEST(TemplateCheck, NamesWhatDoesNotFit) {
  const auto tokenizer = make_tokenizer(byte_vocabulary());
  const auto chatml = ChatTemplate::built_in("chatml");
  const auto llama = ChatTemplate::built_in("llama3");
  EXPECT_THAT(check_text_fits(*tokenizer, 261, &chatml), IsEmpty());
  EXPECT_THAT(check_text_fits(*tokenizer, 320, nullptr), IsEmpty());
  EXPECT_THAT(
      texts_of(check_text_fits(*tokenizer, 260, &chatml)),
      testing::ElementsAre(HasSubstr("error: the tokenizer has 261 tokens, but the embedding table only 260 rows"),
                           HasSubstr("error: the BOS token has id 260")));
  EXPECT_THAT(texts_of(check_text_fits(*tokenizer, 261, &llama)),
              testing::ElementsAre(HasSubstr("warning: the chat template writes '<|start_header_id|>'"),
                                   HasSubstr("'<|end_header_id|>'"), HasSubstr("'<|eot_id|>'")));
  auto endless = byte_vocabulary();
  endless.eos_id.reset();
  for (size_t id = 258; id < 261; ++id) endless.token_types[id] = 1;
  endless.bos_id.reset();
  EXPECT_THAT(texts_of(check_text_fits(*make_tokenizer(std::move(endless)), 261, nullptr)),
              testing::ElementsAre(HasSubstr("no token that ends an answer")));
}

TEST(TemplateCheck, FindsMarkersOfThePublishedTemplates) {
  const auto markers = [](const char* family) {
    return find_markers(golden_file(std::string("templates/") + family + ".jinja"));
  };
  EXPECT_THAT(markers("smollm2"), testing::ElementsAre("<|im_start|>", "<|im_end|>"));
  EXPECT_THAT(markers("gemma3"), testing::UnorderedElementsAre("<start_of_turn>", "<end_of_turn>"));
  EXPECT_THAT(markers("mistral-v0.3"),
              testing::UnorderedElementsAre("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[INST]", "[/INST]",
                                            "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"));
  EXPECT_THAT(markers("qwen2.5"), testing::UnorderedElementsAre("<|im_start|>", "<|im_end|>"));
}

TEST(TemplateCheck, TheRealModelsFit) {
  const auto smollm = make_tokenizer(model_vocabulary(kSmollmFile));
  const auto chat = ChatTemplate::parse(golden_file("templates/smollm2.jinja"));
  EXPECT_THAT(texts_of(check_text_fits(*smollm, 49152, &chat)), IsEmpty());
  const auto gemma = make_tokenizer(model_vocabulary(kGemmaFile));
  const auto built_in = ChatTemplate::built_in("gemma");
  EXPECT_THAT(texts_of(check_text_fits(*gemma, 262144, &built_in)), IsEmpty());
  EXPECT_THAT(texts_of(check_text_fits(*gemma, 262144, &chat)).size(), 2u);
}

}  // namespace
}  // namespace echelon::test
