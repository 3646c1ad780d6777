// The Unicode tables say of every code point what Python's unicodedata says (tests/golden/make_unicode.py).
#include "engine/text/unicode.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "engine/text/utf8.h"
#include "tests/engine/text/model_vocabulary.h"

namespace echelon::test {
namespace {

class Checksum {
 public:
  void add(std::string_view text) {
    for (const char byte : text) hash_ = (hash_ ^ static_cast<uint8_t>(byte)) * 0x100000001b3u;
  }
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

std::string utf8(char32_t point) {
  std::string text;
  append_utf8(text, point);
  return text;
}

/// The checksum of what `say` says of every code point.
template <typename Say>
std::string over_all(Say say) {
  Checksum sum;
  for (char32_t point = 0; point < 0x110000; ++point) {
    if (point < 0xd800 || point >= 0xe000) sum.add(say(point));
  }
  return sum.text();
}

const char* digit(bool holds) { return holds ? "1" : "0"; }

TEST(Unicode, EqualsPythonForEveryCodePoint) {
  const auto golden = boost::json::parse(golden_file("unicode.json"));
  const auto expected = [&](const char* name) { return std::string(golden.at(name).as_string()); };
  EXPECT_EQ(over_all([](char32_t p) { return digit(unicode::is_letter(p)); }), expected("letters"));
  EXPECT_EQ(over_all([](char32_t p) { return digit(unicode::is_number(p)); }), expected("numbers"));
  EXPECT_EQ(over_all([](char32_t p) { return digit(unicode::is_python_space(p)); }), expected("python_space"));
  EXPECT_EQ(over_all([](char32_t p) { return digit(unicode::is_printable(p)); }), expected("printable"));
  EXPECT_EQ(over_all([](char32_t p) { return unicode::to_upper(utf8(p)); }), expected("upper"));
  EXPECT_EQ(over_all([](char32_t p) { return unicode::to_lower(utf8(p)); }), expected("lower"));
  EXPECT_EQ(over_all([](char32_t p) { return unicode::normalize_nfc(utf8(p)); }), expected("nfc_single"));
}

TEST(Unicode, NormalFormCOrdersAndComposesMarks) {
  const auto golden = boost::json::parse(golden_file("unicode.json"));
  const std::string all(golden.at("marks").as_string());
  std::vector<std::string> marks;
  for (size_t at = 0; at < all.size();) {
    const size_t length = read_code_point(all, at).num_bytes;
    marks.push_back(all.substr(at, length));
    at += length;
  }
  ASSERT_GT(marks.size(), 100u);
  Checksum sum;
  for (const std::string base : {"a", "q", "\u1100", "\uac00"}) {
    for (const auto& first : marks) {
      for (const auto& second : marks) sum.add(unicode::normalize_nfc(base + first + second));
    }
  }
  EXPECT_EQ(sum.text(), std::string_view(golden.at("nfc_marks").as_string()));
  EXPECT_EQ(unicode::normalize_nfc("\xff"
                                   "e\u0301\xe6\x97"),
            "\xff"
            "\u00e9\xe6\x97");
}

}  // namespace
}  // namespace echelon::test
