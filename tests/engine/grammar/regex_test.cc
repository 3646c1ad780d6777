#include "engine/grammar/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "engine/grammar/automaton.h"
#include "engine/grammar/json_strings.h"
#include "tests/engine/grammar/reference.h"

namespace echelon {
namespace {

using testing::HasSubstr;

bool matches(std::string_view pattern, std::string_view text, RegexText kind = RegexText::utf8,
             RegexMatch match = RegexMatch::whole) {
  Expressions e;
  const RuleId root = e.add_rule("root");
  e.define(root, parse_regex(e, pattern, kind, match));
  return ReferenceMatcher(e, text).matches(root);
}

std::string refusal_of(std::string_view pattern) {
  try {
    matches(pattern, "");
    return "";
  } catch (const GrammarError& error) {
    return error.what();
  }
}

class RandomPattern {
 public:
  static constexpr int kDepth = 2;
  explicit RandomPattern(uint64_t seed) : random_(seed) {}
  std::string pattern(int depth) {
    std::string result;
    for (int n = 1 + below(3); n > 0; --n) result += piece(depth);
    if (depth > 0 && below(3) == 0) result.append("|").append(pattern(depth - 1));
    return result;
  }
  std::string text() {
    std::string result;
    for (int n = below(7); n > 0; --n) result += "ab1 -_"[below(6)];
    return result;
  }

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  std::string piece(int depth) {
    static const char* const kAtoms[] = {"a",    "b",      "1",      " ",    "-",     ".",      "[ab]",
                                         "[^a]", "[a-b1]", "\\d",    "\\w",  "\\s",   "\\D",    "\\W",
                                         "\\S",  "\\-",    "[\\d ]", "[_-]", "\\x61", "\\u0062"};
    static const char* const kQuantifiers[] = {"", "", "", "?", "{2}", "{1,2}", "*", "+", "{0,}", "*?", "+?"};
    const std::string atom =
        depth > 0 && below(3) == 0 ? (below(2) == 0 ? "(" : "(?:") + pattern(depth - 1) + ")" : kAtoms[below(20)];
    // The standard library takes for ever over repetitions in repetitions.
    return atom + kQuantifiers[below(depth == kDepth ? 11 : 6)];
  }
  std::mt19937_64 random_;
};

TEST(Regex, AgreesWithTheStandardLibrary) {
  int num_matches = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    RandomPattern random(seed);
    const std::string pattern = random.pattern(RandomPattern::kDepth);
    const std::regex expected(pattern, std::regex::ECMAScript);
    for (int i = 0; i < 12; ++i) {
      const std::string text = random.text();
      const bool whole = std::regex_match(text, expected);
      ASSERT_EQ(matches(pattern, text), whole) << pattern << " on \"" << text << '"';
      ASSERT_EQ(matches(pattern, text, RegexText::utf8, RegexMatch::search), std::regex_search(text, expected))
          << pattern << " in \"" << text << '"';
      num_matches += whole;
    }
  }
  EXPECT_GT(num_matches, 1000);
}

TEST(Regex, AnchorsHoldTheirEnds) {
  const auto found = [](std::string_view pattern, std::string_view text) {
    return matches(pattern, text, RegexText::utf8, RegexMatch::search);
  };
  EXPECT_TRUE(found("^ab", "abc"));
  EXPECT_FALSE(found("^ab", "cab"));
  EXPECT_TRUE(found("ab$", "cab"));
  EXPECT_FALSE(found("ab$", "abc"));
  EXPECT_TRUE(found("^(a|b)$", "a"));
  EXPECT_FALSE(found("^(a|b)$", "ab"));
  EXPECT_TRUE(found("^a|b$", "ac"));
  EXPECT_TRUE(found("^a|b$", "cb"));
  EXPECT_FALSE(found("^a|b$", "cac"));
  EXPECT_TRUE(found("(^a|b)c", "abc"));
  EXPECT_TRUE(found("", "anything"));
  EXPECT_TRUE(matches("^a$", "a"));
}

TEST(Regex, KnowsUnicode) {
  EXPECT_TRUE(matches(".", "é"));
  EXPECT_TRUE(matches("[à-ü]+", "éè"));
  EXPECT_FALSE(matches("[à-ü]", "z"));
  EXPECT_TRUE(matches("[^a]", "😀"));
  EXPECT_FALSE(matches(".", "\xC3"));
  EXPECT_TRUE(matches("\\u{1F600}", "😀"));
  EXPECT_TRUE(matches("\\ud83d\\ude00", "😀"));
  EXPECT_TRUE(matches("[\\u0800-\\uFFFF]", "\xEF\xBF\xBD"));
  EXPECT_FALSE(matches("[^a]", "\xED\xA0\x80"));  // a surrogate
  EXPECT_TRUE(matches("日本(語)?", "日本"));
  // Every length of UTF-8, and both sides of its borders.
  for (const std::string_view text : {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                                      "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(matches("[\\u0001-\\u{10FFFF}]", text)) << text;
  for (const std::string_view text : {"\xC0\x80", "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\x80"})
    EXPECT_FALSE(matches("[\\u0000-\\u{10FFFF}]", text));
}

TEST(Regex, IsSpelledWithEscapesInJson) {
  EXPECT_TRUE(matches("a\"b", "a\\\"b", RegexText::json_string));
  EXPECT_FALSE(matches("a\"b", "a\"b", RegexText::json_string));
  EXPECT_TRUE(matches("a\\\\b", "a\\\\b", RegexText::json_string));
  EXPECT_TRUE(matches("\\n", "\\n", RegexText::json_string));
  EXPECT_TRUE(matches("[^a]", "\\u0001", RegexText::json_string));
  EXPECT_FALSE(matches("[^a]", "\n", RegexText::json_string));
  EXPECT_FALSE(matches(".*", "\"", RegexText::json_string));
}

TEST(Regex, SaysWhatItDoesNotSupport) {
  EXPECT_THAT(refusal_of("(a)\\1"), HasSubstr("at byte 5: back-references"));
  EXPECT_THAT(refusal_of("a(?=b)"), HasSubstr("look-around"));
  EXPECT_THAT(refusal_of("(?<!b)a"), HasSubstr("look-around"));
  EXPECT_THAT(refusal_of("(?i)a"), HasSubstr("flags"));
  EXPECT_THAT(refusal_of("\\ba"), HasSubstr("word boundaries"));
  EXPECT_THAT(refusal_of("\\p{L}"), HasSubstr("properties"));
  EXPECT_THAT(refusal_of("a++"), HasSubstr("possessive"));
  EXPECT_THAT(refusal_of("(a"), HasSubstr("does not end"));
  EXPECT_THAT(refusal_of("a)"), HasSubstr("no group"));
  EXPECT_THAT(refusal_of("[a"), HasSubstr("does not end"));
  EXPECT_THAT(refusal_of("[b-a]"), HasSubstr("not a range"));
  EXPECT_THAT(refusal_of("*a"), HasSubstr("nothing to repeat"));
  EXPECT_THAT(refusal_of("a**"), HasSubstr("nothing to repeat"));
  EXPECT_THAT(refusal_of("a{3,2}"), HasSubstr("above the greatest"));
  EXPECT_THAT(refusal_of("a{999999999999}"), HasSubstr("repetitions"));
  EXPECT_THAT(refusal_of("a^b"), HasSubstr("beginning only"));
  EXPECT_THAT(refusal_of("\\"), HasSubstr("backslash"));
  EXPECT_THAT(refusal_of("\\ud83d"), HasSubstr("surrogate"));
  EXPECT_THAT(refusal_of("\xFF"), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal_of(std::string(500, '(') + std::string(500, ')')), HasSubstr("too many groups"));
  EXPECT_TRUE(matches("a{b}", "a{b}"));  // an ordinary brace
  EXPECT_TRUE(matches("(?P<year>\\d{4})-(?<month>\\d\\d)", "2026-11"));
}

}  // namespace
}  // namespace echelon
