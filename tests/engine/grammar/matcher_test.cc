// Masks against the slow way: a token is allowed when its bytes can be taken one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "tests/engine/grammar/reference.h"

namespace echelon {
namespace {

/// Random tokens that look like pieces of JSON and of words, some of them twice.
std::shared_ptr<const GrammarVocabulary> random_vocabulary(uint64_t seed, int num_tokens) {
  std::mt19937_64 random(seed);
  constexpr std::string_view kPieces[] = {"{", "}",    "[",    "]",    "\"", ":", ",", " ",  "\n",
                                          "a", "b",    "ab",   "null", "1",  "-", ".", "\\", "\\u00",
                                          "e", "name", "\xC3", "\xA9", "é",  "😀", "0", "  "};
  std::vector<std::string> texts;
  for (int i = 0; i < num_tokens; ++i) {
    std::string text;
    for (int n = 1 + static_cast<int>(random() % 4); n > 0; --n) text += kPieces[random() % std::size(kPieces)];
    texts.push_back(std::move(text));
  }
  return vocabulary_of(std::move(texts));
}

const GrammarSource kSources[] = {
    {GrammarKind::json_object, ""},
    {GrammarKind::json_schema, R"({"type": "object", "properties": {"name": {"type": "string"}, "ab": {"type": "array",
      "items": {"type": ["number", "null"]}}}, "required": ["name"]})"},
    {GrammarKind::json_schema, R"({"type": "array", "items": {"$ref": "#"}})"},
    {GrammarKind::json_schema, R"({"type": "string", "minLength": 2, "maxLength": 7})"},
    {GrammarKind::json_schema, R"({"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+é?b$"},
      "b": {"type": "integer", "minimum": -10, "maximum": 100}}, "additionalProperties": {"type": "null"}})"},
    {GrammarKind::regex, "(a|ab|é)*[^a-z]{2,3}"},
    {GrammarKind::regex, ".*"},
    {GrammarKind::choice, R"(["a", "ab", "abé", "null", "name\""])"},
    {GrammarKind::answer,
     R"({"content":null,"calls":{"trigger":"name\"","open":[""],"separator":"","close":"","only_one":false,
      "tags":[{"begin":"name\":","schema":{"type":["null","number"]},"end":"]","strict":true,"name":"t"}]},
      "reasoning":{"begin":"{","end":"a b\n","is_open":false}})"},
    {GrammarKind::gbnf, "root ::= item+ \"1\"\nitem ::= \"a\" item? \"b\" | [^ab1] | \"(\" root \")\""},
};

TEST(Matcher, MasksAreWhatCanBeTaken) {
  for (const int num_tokens : {300, 9000}) {  // with the second, states have masks worked out in advance
    const auto vocabulary = random_vocabulary(static_cast<uint64_t>(num_tokens), num_tokens);
    std::mt19937_64 random(7);
    for (const GrammarSource& source : kSources) {
      const auto grammar = compile_grammar(source, vocabulary);
      TokenMask mask(vocabulary->width());
      for (int round = 0; round < (num_tokens > 1000 ? 3 : 20); ++round) {
        Matcher matcher(grammar);
        for (int i = 0; i < 12; ++i) {
          matcher.fill(mask);
          std::vector<TokenId> allowed;
          for (TokenId token = 0; token < vocabulary->width(); ++token) {
            const bool is_end = token == vocabulary->end_tokens()[0];
            const bool expected = is_end ? matcher.may_end() : Matcher(matcher).advance(token);
            ASSERT_EQ(mask.allows(token), expected) << source.text << " token " << token;
            if (expected && !is_end) allowed.push_back(token);
          }
          ASSERT_EQ(allowed.empty(), matcher.must_end());
          if (allowed.empty()) break;
          ASSERT_TRUE(matcher.advance(allowed[random() % allowed.size()]));
        }
      }
    }
  }
}

TEST(Matcher, WhatItLetsThroughIsRight) {
  const auto vocabulary = random_vocabulary(5, 2000);
  std::mt19937_64 random(11);
  for (const GrammarSource& source : kSources) {
    const auto grammar = compile_grammar(source, vocabulary);
    int num_ended = 0;
    for (int round = 0; round < 100; ++round) {
      const Sample text = sample(grammar, random, 60);
      num_ended += text.ended;
      if (!text.ended) continue;
      EXPECT_TRUE(accepts(grammar, text.text)) << text.text;
      if (source.kind != GrammarKind::json_schema && source.kind != GrammarKind::json_object) continue;
      boost::system::error_code error;
      boost::json::parse(text.text, error);
      EXPECT_FALSE(error) << text.text;
    }
    EXPECT_GT(num_ended, 20) << source.text;
  }
}

TEST(Matcher, TakesNothingElse) {
  const auto vocabulary = vocabulary_of({"ab", ""});
  const auto grammar = compile(GrammarKind::choice, R"(["ab"])", vocabulary);
  Matcher matcher(grammar);
  const TokenId end = vocabulary->end_tokens()[0];
  EXPECT_FALSE(matcher.advance(end));
  EXPECT_FALSE(matcher.advance(end - 1));  // a control token
  EXPECT_FALSE(matcher.advance(-1));
  EXPECT_FALSE(matcher.advance(static_cast<TokenId>(vocabulary->width()) - 1));
  EXPECT_FALSE(matcher.advance('b'));
  EXPECT_TRUE(matcher.advance('a'));
  EXPECT_FALSE(matcher.may_end());
  EXPECT_TRUE(matcher.advance('b'));
  EXPECT_TRUE(matcher.may_end());
  EXPECT_TRUE(matcher.must_end());
  EXPECT_TRUE(matcher.advance(end));
}

/// A long text does not make a matcher grow without bounds.
TEST(Matcher, StaysSmall) {
  const auto vocabulary = random_vocabulary(2, 3000);
  const auto grammar =
      compile_grammar({GrammarKind::gbnf, "root ::= \"a\" root | \"b\" root \"e\" | \"1\""}, vocabulary);
  Matcher matcher(grammar);
  TokenMask mask(vocabulary->width());
  for (int i = 0; i < 20000; ++i) {
    ASSERT_TRUE(matcher.advance(i % 3 == 0 && i < 1200 ? 'b' : 'a'));
    if (i % 50 == 0) matcher.fill(mask);
  }
  EXPECT_LT(matcher.size_bytes(), size_t{16} << 20);
}

TEST(GrammarCache, KeepsWhatWasUsedLast) {
  GrammarCache cache(vocabulary_of({}));
  const GrammarSource a{GrammarKind::regex, "a+"}, b{GrammarKind::gbnf, "root ::= \"a\"+"};
  const auto first = cache.get(a);
  EXPECT_EQ(cache.get(a), first);
  EXPECT_NE(cache.get(b), first);
  EXPECT_THROW(cache.get({GrammarKind::regex, "("}), GrammarError);
  EXPECT_EQ(cache.get(a), first);
}

}  // namespace
}  // namespace echelon
