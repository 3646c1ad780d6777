// Forms: what the official clients send is read, and what two parsers could read differently is refused.
#include "frontend/batch/multipart.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

namespace echelon {
namespace {

constexpr const char* kType = "multipart/form-data; boundary=XX";

std::string part(std::string_view header, std::string_view content) {
  return fmt::format("--XX\r\n{}\r\n\r\n{}\r\n", header, content);
}
std::string named(std::string_view name, std::string_view content) {
  return part(fmt::format("Content-Disposition: form-data; name=\"{}\"", name), content);
}

TEST(Multipart, ReadsWhatClientsSend) {
  const std::string body = named("purpose", "batch") +
                           part(
                               "Content-Disposition: form-data; name=\"file\"; filename=\"a "
                               "\\\"b\\\".jsonl\"\r\nContent-Type: application/jsonl",
                               "{}\r\n--X\n{}\n") +
                           "--XX--\r\n";
  for (const char* type :
       {kType, "Multipart/Form-Data;boundary=\"XX\"", "multipart/form-data ; charset=utf-8; boundary=XX"}) {
    const auto parts = parse_form(type, body);
    ASSERT_TRUE(parts.has_value()) << parts.error().message;
    ASSERT_EQ(parts->size(), 2u);
    EXPECT_EQ((*parts)[0].name, "purpose");
    EXPECT_EQ((*parts)[0].content, "batch");
    EXPECT_FALSE((*parts)[0].file_name.has_value());
    EXPECT_EQ((*parts)[1].file_name, "a \"b\".jsonl");
    EXPECT_EQ((*parts)[1].content, "{}\r\n--X\n{}\n");
  }
  const auto empty = parse_form(kType, named("a", "") + "--XX--");
  ASSERT_TRUE(empty.has_value());
  EXPECT_EQ(empty->front().content, "");
}

TEST(Multipart, RefusesOtherContentTypes) {
  const std::string body = named("a", "b") + "--XX--";
  for (const std::string& type :
       {std::string(), std::string("application/json"), std::string("multipart/form-data"),
        std::string("multipart/form-data; boundary="), std::string("multipart/form-data; boundary=\"XX"),
        std::string("multipart/form-data; boundary=XX; boundary=YY"), std::string("multipart/mixed; boundary=XX"),
        std::string("multipart/form-data; boundary=X X"), std::string("multipart/form-data; boundary=\"X\rX\""),
        std::string("multipart/form-data; boundary=XX junk"),
        "multipart/form-data; boundary=" + std::string(71, 'X')}) {
    const auto parts = parse_form(type, body);
    ASSERT_TRUE(parts.has_error()) << type;
    EXPECT_EQ(parts.error().http_status, 400);
    EXPECT_EQ(parts.error().code, "invalid_form");
  }
}

TEST(Multipart, RefusesWhatIsNotAForm) {
  const std::string good = named("a", "b"), end = "--XX--";
  std::string many;
  for (size_t i = 0; i <= kMaxFormParts; ++i) many += named(fmt::format("p{}", i), "x");
  const std::string header = "Content-Disposition: form-data; name=\"a\"";
  for (const std::string& body : {std::string(),
                                  std::string("--"),
                                  std::string("--XX"),
                                  end,
                                  good,
                                  "junk" + good + end,
                                  good + "--XX-",
                                  good + end + "more",
                                  good + good + end,
                                  many + end,
                                  named("", "b") + end,
                                  part("Content-Disposition: form-data", "b") + end,
                                  part("Content-Disposition: attachment; name=\"a\"", "b") + end,
                                  part("Content-Type: text/plain", "b") + end,
                                  part(header + "\r\n" + header, "b") + end,
                                  part(header + "; name=\"b\"", "b") + end,
                                  part(header + "; filename*=UTF-8''x", "b") + end,
                                  part(header + "; filename=\"a\xff\"", "b") + end,
                                  part(header + "; filename=\"a\x01\"", "b") + end,
                                  part(header + "; filename=\"" + std::string(300, 'f') + "\"", "b") + end,
                                  part(header + "\r\nContent-Transfer-Encoding: base64", "b") + end,
                                  part("no field", "b") + end,
                                  part(header + "\r\nX: " + std::string(kMaxFormPartHeaderBytes, 'x'), "b") + end,
                                  std::string("--XX\n") + header + "\n\nb\n--XX--",
                                  std::string("--XX\r\n") + header + "\r\n\r\nb",
                                  part(header, "b\r\n--XXtra") + end,
                                  "--XX \r\n" + header + "\r\n\r\nb\r\n--XX--"}) {
    const auto parts = parse_form(kType, body);
    EXPECT_TRUE(parts.has_error()) << body.substr(0, 200);
  }
}

TEST(Multipart, MutatedFormsAreReadInsideTheBodyOrRefused) {
  const std::string good = named("purpose", "batch") +
                           part("Content-Disposition: form-data; name=\"file\"; filename=\"f\"", "{\"a\": 1}\n") +
                           "--XX--\r\n";
  std::mt19937 chance(17);
  constexpr std::string_view kBytes = "\r\n-X\"\\;=: \0a\xff";
  for (int round = 0; round < 20'000; ++round) {
    std::string body = good;
    for (int change = static_cast<int>(chance() % 4); change >= 0; --change) {
      const size_t at = chance() % body.size();
      switch (chance() % 3) {
        case 0:
          body[at] = kBytes[chance() % kBytes.size()];
          break;
        case 1:
          body.erase(at, 1 + chance() % 8);
          break;
        default:
          body.insert(at, body.substr(chance() % body.size(), chance() % 12));
      }
      if (body.empty()) body.push_back('-');
    }
    const auto parts = parse_form(kType, body);
    if (parts.has_error()) continue;
    for (const FormPart& each : *parts) {
      ASSERT_GE(each.content.data(), body.data());
      ASSERT_LE(each.content.data() + each.content.size(), body.data() + body.size());
      ASSERT_EQ(each.content.find("\r\n--XX"), std::string_view::npos);
    }
  }
}

}  // namespace
}  // namespace echelon
