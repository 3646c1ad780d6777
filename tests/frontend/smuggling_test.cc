// Request smuggling: bytes of which two parsers might make different requests, each followed by a plain GET /version on
// the same connection. Either they are framed as RFC 9112 says, and GET /version is answered alone; or they are
// refused, and nothing more is answered.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"
#include "tests/frontend/smuggling_cases.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::HttpClient;
using testing::smuggling::Case;

constexpr std::string_view kProbe = "GET /version HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";

std::string shown(const std::string& bytes) {
  std::string text;
  for (const char c : bytes.substr(0, 400)) {
    const bool plain = c >= ' ' && c < 0x7f;
    text += plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

class Smuggling : public testing::FrontEndTest {
 protected:
  /// `piece_bytes`: how much is sent at a time; wherever a request is cut it is the same one.
  void check(const std::vector<Case>& cases, size_t piece_bytes) {
    ServerOptions options;
    options.linger_timeout = 50ms;
    start(options);
    for (const Case& one : cases) {
      SCOPED_TRACE(shown(one.bytes));
      HttpClient client(port_);
      const std::string text = one.bytes + std::string(kProbe);
      for (size_t at = 0; at < text.size(); at += piece_bytes) {
        if (!client.send(std::string_view(text).substr(at, piece_bytes))) break;
      }
      check_answers(client, one);
    }
  }

 private:
  static void check_answers(HttpClient& client, const Case& one) {
    std::optional<testing::ClientResponse> response;
    for (size_t i = 0; i < one.answers.size(); ++i) {
      response = client.response();
      ASSERT_TRUE(response) << "closed without an answer";
      EXPECT_EQ(response->status, one.answers[i]) << response->body;
      const bool is_last = i + 1 == one.answers.size();
      EXPECT_TRUE(response->status == 100 || response->keep_alive == (!is_last || one.next));
    }
    EXPECT_NE(response->body.find(one.seen), std::string::npos) << response->body;
    if (one.next) {
      const auto next = client.response();
      ASSERT_TRUE(next) << "the next request has no answer";
      EXPECT_EQ(next->status, 200);
      EXPECT_NE(next->body.find("\"version\""), std::string::npos) << next->body;
    }
    EXPECT_FALSE(client.response()) << "one answer too many";
  }
};

std::vector<Case> all_cases() {
  std::vector<Case> all;
  using namespace testing::smuggling;
  for (auto&& cases : {request_lines(), targets(), header_lines(), hosts(), lengths(), encodings(), chunk_lines()})
    all.insert(all.end(), cases.begin(), cases.end());
  return all;
}

TEST_F(Smuggling, EveryCaseIsFramedOrRefused) {
  const auto cases = all_cases();
  EXPECT_GE(cases.size(), 150u);
  check(cases, std::string::npos / 2);
}

TEST_F(Smuggling, AndLikewiseByteByByte) {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& one) { return one.bytes.size() > 1000; });
  check(cases, 1);
}

}  // namespace
}  // namespace echelon
