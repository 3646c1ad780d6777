// How many connections there may be, of one address and in all; and a process that may open no more files.
#include "frontend/http/admission.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <list>
#include <optional>
#include <thread>
#include <vector>

#include "tests/frontend/front_end_test.h"
#include "tests/frontend/http_client.h"

namespace echelon {
namespace {

using namespace std::chrono_literals;
using testing::ask;
using testing::becomes_true;
using testing::get_text;
using testing::HttpClient;
using Verdict = Admission::Verdict;

TEST(Admission, CountsAddressesAndAll) {
  Admission admission(5, 2);
  std::list<Admission::Ticket> inside;
  const auto admit = [&](const char* address) {
    auto ticket = admission.admit(address);
    const Verdict verdict = ticket.verdict();
    if (verdict == Verdict::serve) inside.push_back(std::move(ticket));
    return verdict;
  };
  EXPECT_EQ(admit("a"), Verdict::serve);
  EXPECT_EQ(admit("a"), Verdict::serve);
  EXPECT_EQ(admit("a"), Verdict::too_many_of_address);
  EXPECT_EQ(admit(""), Verdict::serve) << "no address, no limit of one";
  EXPECT_EQ(admit(""), Verdict::serve);
  EXPECT_EQ(admit("b"), Verdict::serve);
  EXPECT_EQ(admit("b"), Verdict::too_many);
  EXPECT_EQ(admit(""), Verdict::too_many);
  inside.erase(inside.begin());
  EXPECT_EQ(admit("a"), Verdict::serve) << "the place of one that has gone";
}

TEST(Admission, FewAreToldWhyTheyMayNot) {
  Admission admission(1, 1);
  const auto inside = admission.admit("a");
  std::vector<Admission::Ticket> told;
  while (told.size() < 1000) {
    told.push_back(admission.admit(told.size() % 2 == 0 ? "a" : "b"));
    if (told.back().verdict() == Verdict::drop) break;
  }
  EXPECT_EQ(told.size(), 65u);
  told.clear();
  EXPECT_EQ(admission.admit("b").verdict(), Verdict::too_many);
}

TEST(Admission, NoLimitOfAnAddress) {
  Admission admission(3, 0);
  const auto first = admission.admit("a"), second = admission.admit("a"), third = admission.admit("a");
  EXPECT_EQ(third.verdict(), Verdict::serve);
  EXPECT_EQ(admission.admit("a").verdict(), Verdict::too_many);
}

class Connections : public testing::FrontEndTest {};

TEST_F(Connections, OfOneAddressAreBoundedAndOthersAreServed) {
  const std::string path = std::filesystem::temp_directory_path() / ("echelon_many_" + std::to_string(getpid()));
  ServerOptions options;
  options.connections_per_address = 2;
  options.listen = {"127.0.0.1:0", "unix:" + path};
  start(options);
  std::optional<HttpClient> first(port_), second(port_);
  for (HttpClient* client : {&*first, &*second}) {
    client->send(get_text("/version"));
    EXPECT_EQ(client->response()->status, 200);
  }
  const auto third = ask(port_, get_text("/version"));
  EXPECT_EQ(third.status, 429);
  EXPECT_EQ(third.json().at("error").at("code"), "too_many_connections");
  EXPECT_EQ(third.field("Retry-After"), "1");
  EXPECT_FALSE(third.keep_alive);
  HttpClient local(path);
  local.send(get_text("/version"));
  EXPECT_EQ(local.response()->status, 200) << "a socket of Unix has no address";
  first.reset();
  EXPECT_TRUE(becomes_true([&] { return ask(port_, get_text("/version")).status == 200; }));
  EXPECT_GE(front_->http_metrics().connections_refused.load(), 1u);
}

/// All files that the process may open, open.
class NoFiles {
 public:
  NoFiles() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int next = ::dup(0);
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(next) + 16;
    ::close(next);
    ::setrlimit(RLIMIT_NOFILE, &few);
    for (int file = ::dup(0); file >= 0; file = ::dup(0)) files_.push_back(file);
  }
  ~NoFiles() {
    for (const int file : files_) ::close(file);
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }
  void give_back_one() {
    ::close(files_.back());
    files_.pop_back();
  }

 private:
  rlimit before_{};
  std::vector<int> files_;
};

TEST_F(Connections, ComeInAgainWhenFilesCanBeOpenedAgain) {
  start();
  HttpClient before(port_);
  before.send(get_text("/version"));
  EXPECT_EQ(before.response()->status, 200);
  std::optional<HttpClient> waiting;
  {
    NoFiles none;
    none.give_back_one();
    waiting.emplace(port_);  // takes it: for the server's end of the connection there is none
    waiting->send(get_text("/version"));
    for (int i = 0; i < 100; ++i) {
      before.send(get_text("/version"));
      ASSERT_EQ(before.response()->status, 200) << "who is in is served";
    }
    EXPECT_EQ(front_->http_metrics().connections_accepted.load(), 1u);
  }
  EXPECT_EQ(waiting->response()->status, 200);
}

TEST_F(Connections, ThatTrickleAreClosedLikeSilentOnes) {
  ServerOptions options;
  options.header_timeout = options.body_timeout = 100ms;
  start(options);
  for (const std::string text :
       {"GET /version HTTP/1.1\r\nHost: a\r\nX: ", "POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"}) {
    HttpClient client(port_);
    client.send(text);
    int sent = 0;
    for (; sent < 4000 && client.send("a"); ++sent) std::this_thread::sleep_for(5ms);
    EXPECT_LT(sent, 4000) << "each byte buys no more time";
  }
}

TEST_F(Connections, ThatDoNotReadTheirAnswerAreClosed) {
  ServerOptions options;
  options.write_timeout = 50ms;
  options.socket_send_bytes = 4 << 10;
  start(options);
  HttpClient client(port_, 4096);
  client.send(get_text("/openapi.json"));
  ASSERT_TRUE(becomes_true([&] { return front_->http_metrics().responses[1].load() == 1; }));
  EXPECT_TRUE(becomes_true([&] { return front_->http_metrics().connections.load() == 0; }));
}

TEST_F(Connections, ThatLeaveBehindUnreadBytesAreNoticed) {
  engine_.paused = true;
  ServerOptions options;
  options.pipelined_bytes = 1 << 10;
  start(options);
  HttpClient client(port_);
  client.send(testing::post_text("/v1/completions", R"({"prompt":"a"})"));
  ASSERT_TRUE(becomes_true([&] { return engine_.num_submitted == 1; }));
  client.send(std::string(40'000, 'a'));  // more than is read ahead
  client.leave();
  EXPECT_TRUE(becomes_true([&] { return engine_.num_cancelled == 1; }));
}

TEST_F(Connections, AreAsManyAsFilesMayBeOpen) {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  ServerOptions options;
  options.max_connections = 10'000'000;
  start(options);
  rlimit after{};
  ::getrlimit(RLIMIT_NOFILE, &after);
  EXPECT_GE(after.rlim_cur, before.rlim_cur);
  EXPECT_EQ(after.rlim_max, before.rlim_max);
  EXPECT_EQ(ask(port_, get_text("/version")).status, 200);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace echelon
