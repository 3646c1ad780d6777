// Streams show whole characters and nothing from a stop string on, however the text is cut into pieces.
#include "engine/text/stream_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/engine/text/model_vocabulary.h"

namespace echelon::test {
namespace {

TEST(Utf8Decoder, ReplacesAsPythonDoes) {
  // Expected: bytes.decode("utf-8", errors="replace") of Python 3.11.
  const std::pair<std::string, std::string> cases[] = {
      {"abc", "abc"},
      {"\xff", "\ufffd"},
      {"\xe4\xb8", "\ufffd"},
      {"\xe4\xb8"
       "A",
       "\ufffdA"},
      {"\xf0\x80\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"\xf0\x9f\x99", "\ufffd"},
      {"\xf0\x9f\x99\x82\xf0\x9f", "\U0001F642\ufffd"},
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xc0\xaf", "\ufffd\ufffd"},
      {"\xe0\x80\xaf", "\ufffd\ufffd\ufffd"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"\xf5\x80", "\ufffd\ufffd"},
      {"\x80\xbf", "\ufffd\ufffd"},
      {"\xe2\x82\xe2\x82\xac", "\ufffd\u20ac"},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(replace_invalid_utf8(bytes), expected);
    Utf8Decoder decoder;
    std::string out;
    for (const char byte : bytes) {
      out += decoder.feed(std::string_view(&byte, 1));
      EXPECT_TRUE(is_valid_utf8(out));
      EXPECT_LE(decoder.num_pending(), 3u);
    }
    EXPECT_EQ(out + decoder.flush(), expected);
  }
}

TEST(Utf8Decoder, PiecesNeverShow) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string bytes;
    for (int i = 0; i < 40; ++i) {
      constexpr std::string_view kUnits[] = {"a", "\u00e9", "\u4e2d", "\U0001F642", "\xe4", "\x80", "\xf0\x9f", "\xff"};
      bytes += kUnits[random() % std::size(kUnits)];
    }
    Utf8Decoder decoder;
    std::string out;
    for (size_t at = 0; at < bytes.size();) {
      const size_t length = std::min<size_t>(1 + random() % 5, bytes.size() - at);
      out += decoder.feed(std::string_view(bytes).substr(at, length));
      at += length;
    }
    EXPECT_EQ(out + decoder.flush(), replace_invalid_utf8(bytes));
  }
}

TEST(StreamDecoder, EqualsDecodingAllAtOnce) {
  const auto tokenizer = make_tokenizer(model_vocabulary(kSmollmFile));
  const auto ids = tokenizer->encode("<|im_start|>日本 🙂🙃 naïve<|im_end|>", {.parse_special = true});
  for (const bool skip : {true, false}) {
    StreamDecoder decoder(*tokenizer, {.skip_special_tokens = skip});
    std::string out;
    for (const TokenId id : ids) {
      out += decoder.feed(id);
      EXPECT_TRUE(is_valid_utf8(out));
    }
    EXPECT_EQ(out + decoder.flush(), tokenizer->decode(ids, {.skip_special = skip}));
  }
}

TEST(StreamDecoder, AnAnswerKeepsItsLeadingSpace) {
  auto vocabulary = model_vocabulary(kGemmaFile);
  vocabulary.add_space_prefix = true;  // as Llama-2's
  const auto tokenizer = make_tokenizer(std::move(vocabulary));
  const auto ids = tokenizer->encode("hello");
  EXPECT_EQ(tokenizer->decode(ids), "hello");
  StreamDecoder answer(*tokenizer);
  StreamDecoder text(*tokenizer, {.at_text_start = true});
  std::string from_answer, from_text;
  for (const TokenId id : ids) {
    from_answer += answer.feed(id);
    from_text += text.feed(id);
  }
  EXPECT_EQ(from_answer, " hello");
  EXPECT_EQ(from_text, "hello");
}

struct StopResult {
  std::string text;
  std::string stop;
};

StopResult run_checker(const StopStrings& stops, const std::vector<std::string>& pieces) {
  StopChecker checker(stops);
  StopResult result;
  for (const auto& piece : pieces) {
    const auto output = checker.feed(piece);
    result.text += output.text;
    if (output.stopped) {
      result.stop = output.stop_string;
      EXPECT_EQ(checker.feed("more").text, "");
      return result;
    }
  }
  result.text += checker.flush();
  return result;
}

std::vector<std::string> letters(const std::string& text) {
  std::vector<std::string> pieces;
  for (const char c : text) pieces.emplace_back(1, c);
  return pieces;
}

TEST(StopChecker, TheStringThatEndsFirstStops) {
  struct Case {
    std::vector<std::string> stops;
    std::string text, expected, stop;
  };
  const Case cases[] = {
      {{"stop"}, "go on stop here", "go on ", "stop"},
      {{"stop"}, "go on sto", "go on sto", ""},
      {{"abcd", "bc"}, "xabcd", "xa", "bc"},
      {{"bc", "abc"}, "xabcd", "x", "abc"},
      {{"aab"}, "aaaaab", "aaa", "aab"},
      {{"\n\n"}, "a\nb\n\nc", "a\nb", "\n\n"},
      {{""}, "anything", "anything", ""},
      {{}, "anything", "anything", ""},
      {{"ab", "ab"}, "cab", "c", "ab"},
      {{"abab"}, "abaabab!", "aba", "abab"},
  };
  for (const Case& c : cases) {
    for (const auto& pieces : {letters(c.text), std::vector<std::string>{c.text}}) {
      const StopResult result = run_checker({c.stops, false}, pieces);
      EXPECT_EQ(result.text, c.expected);
      EXPECT_EQ(result.stop, c.stop);
      EXPECT_EQ(run_checker({c.stops, true}, pieces).text, c.expected + c.stop);
    }
  }
}

TEST(StopChecker, HoldsBackOnlyWhatCouldStop) {
  StopChecker checker({{"END"}, false});
  EXPECT_EQ(checker.feed("abE").text, "ab");
  EXPECT_EQ(checker.feed("N").text, "");
  EXPECT_EQ(checker.feed("x").text, "ENx");
  EXPECT_EQ(checker.feed("E").text, "");
  EXPECT_EQ(checker.flush(), "E");
}

TEST(StopChecker, WhatPassesCannotStop) {
  StopChecker checker({{"END"}, false});
  EXPECT_EQ(checker.pass("an END and an E"), "an END and an E");
  EXPECT_EQ(checker.feed("ND").text, "ND");
  const auto output = checker.feed("!END");
  EXPECT_TRUE(output.stopped);
  EXPECT_EQ(output.text, "!");
}

TEST(StopChecker, PiecesNeverShow) {
  std::mt19937 random(2);
  for (int round = 0; round < 2000; ++round) {
    const auto word = [&](size_t limit) {
      std::string text;
      for (size_t i = 0, n = 1 + random() % limit; i < n; ++i) text += "abc"[random() % 3];
      return text;
    };
    const StopStrings stops{{word(5), word(5)}, (random() & 1) != 0};
    const std::string text = word(40);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::min<size_t>(1 + random() % 6, text.size() - at);
      pieces.push_back(text.substr(at, length));
      at += length;
    }
    const StopResult whole = run_checker(stops, {text});
    const StopResult cut = run_checker(stops, pieces);
    EXPECT_EQ(whole.text, cut.text);
    EXPECT_EQ(whole.stop, cut.stop);
    size_t first_end = std::string::npos;
    for (const auto& stop : stops.strings) {
      if (const size_t at = text.find(stop); at != std::string::npos) first_end = std::min(first_end, at + stop.size());
    }
    EXPECT_EQ(whole.stop.empty(), first_end == std::string::npos);
    const bool kept = whole.stop.empty() || stops.include_in_output;
    EXPECT_EQ(whole.text, text.substr(0, kept ? first_end : first_end - whole.stop.size()));
  }
}

}  // namespace
}  // namespace echelon::test
