// The star of control channels, over sockets and between threads: messages arrive in order, a lost rank is reported
// once, and neither a wrong secret nor a stranger's garbage gets in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <future>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "parallel/control/socket_control.h"
#include "parallel/local/local_control.h"

namespace echelon {
namespace {

using std::chrono::milliseconds;

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

/// What one end has seen; the test waits for it.
struct Seen {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<int, ControlMessage>> messages;
  std::vector<std::pair<int, std::string>> losses;
  std::vector<std::string> drops;

  ControlChannel::Handlers handlers() {
    return {.on_message =
                [this](int rank, ControlMessage message) {
                  const std::lock_guard lock(mutex);
                  messages.emplace_back(rank, std::move(message));
                  changed.notify_all();
                },
            .on_lost =
                [this](int rank, const std::string& reason) {
                  const std::lock_guard lock(mutex);
                  losses.emplace_back(rank, reason);
                  changed.notify_all();
                },
            .on_dropped =
                [this](const std::string& reason) {
                  const std::lock_guard lock(mutex);
                  drops.push_back(reason);
                  changed.notify_all();
                }};
  }
  bool wait(auto&& condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), condition);
  }
  bool wait_for_messages(size_t num) {
    return wait([&] { return messages.size() >= num; });
  }
  bool wait_for_losses(size_t num) {
    return wait([&] { return losses.size() >= num; });
  }
};

ControlIdentity identity(int rank, int size, uint8_t secret = 7) {
  ControlIdentity own{.rank = rank, .size = size, .job_id = 0x1122334455667788};
  own.secret.fill(std::byte{secret});
  return own;
}

enum class Kind { unix_socket, tls, local };

std::vector<std::unique_ptr<ControlChannel>> make_star(Kind kind, int size, ControlTimes times = {}) {
  if (kind == Kind::local) return make_local_control(size);
  std::vector<std::unique_ptr<ControlChannel>> ends;
  auto front =
      std::make_unique<FrontControl>(identity(0, size), times, ControlEndpoint{kind == Kind::tls ? "127.0.0.1" : ""});
  const std::string address = front->address();
  ends.push_back(std::move(front));
  for (int rank = 1; rank < size; ++rank)
    ends.push_back(std::make_unique<WorkerControl>(identity(rank, size), times, address));
  return ends;
}

void start_all(std::vector<std::unique_ptr<ControlChannel>>& ends, std::vector<Seen>& seen) {
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < ends.size(); ++rank)
    threads.emplace_back([&, rank] { ends[rank]->start(seen[rank].handlers()); });
  for (std::thread& thread : threads) thread.join();
}

class ControlStar : public testing::TestWithParam<Kind> {};

TEST_P(ControlStar, MessagesArriveInOrderAndWhole) {
  constexpr int kSize = 5, kNum = 300;
  std::vector<Seen> seen(kSize);
  auto ends = make_star(GetParam(), kSize);
  start_all(ends, seen);
  std::mt19937 random(5);
  std::vector<std::vector<std::byte>> payloads;
  for (int i = 0; i < kNum; ++i) {
    payloads.emplace_back(i == 7 ? 3'000'000 : random() % 500);
    for (std::byte& byte : payloads.back()) byte = std::byte(random());
  }
  for (int i = 0; i < kNum; ++i) {
    for (int rank = 0; rank < kSize; ++rank) {
      ends[0]->send(rank, {.kind = MessageKind::plan, .epoch = 3, .number = uint64_t(i), .payload = payloads[i]});
      if (rank > 0)
        ends[rank]->send(0, {.kind = MessageKind::result, .epoch = 4, .number = uint64_t(i), .payload = payloads[i]});
    }
  }
  for (int rank = 0; rank < kSize; ++rank) {
    ASSERT_TRUE(seen[rank].wait_for_messages(rank == 0 ? kNum * kSize : kNum)) << rank;
    std::map<int, uint64_t> next;
    for (const auto& [from, message] : seen[rank].messages) {
      const bool is_plan = from == 0;
      EXPECT_EQ(message.kind, is_plan ? MessageKind::plan : MessageKind::result);
      EXPECT_EQ(message.epoch, is_plan ? 3u : 4u);
      ASSERT_EQ(message.number, next[from]++);
      ASSERT_TRUE(message.payload == payloads[message.number]);
    }
  }
  for (auto& end : ends) end->close();
  for (Seen& one : seen) EXPECT_TRUE(one.losses.empty()) << one.losses[0].second;
}

/// A message sent at once may reach a worker in the same bytes as its acceptance.
TEST_P(ControlStar, RankZeroMaySpeakAtOnceAndAtLength) {
  constexpr int kSize = 4;
  for (int round = 0; round < 20; ++round) {
    std::vector<Seen> seen(kSize);
    auto ends = make_star(GetParam(), kSize);
    std::vector<std::thread> workers;
    for (int rank = 1; rank < kSize; ++rank)
      workers.emplace_back([&, rank] { ends[rank]->start(seen[rank].handlers()); });
    ends[0]->start(seen[0].handlers());
    for (int rank = 1; rank < kSize; ++rank)
      ends[0]->send(rank, {.kind = MessageKind::plan, .payload = std::vector<std::byte>(4000)});
    for (std::thread& worker : workers) worker.join();
    for (int rank = 1; rank < kSize; ++rank) {
      ASSERT_TRUE(seen[rank].wait_for_messages(1)) << "round " << round << ", rank " << rank;
      EXPECT_EQ(seen[rank].messages[0].second.payload.size(), 4000u);
    }
    for (auto& end : ends) end->close();
  }
}

TEST_P(ControlStar, AnOrderlyCloseIsNoLossAndKeepsWhatWasSent) {
  for (int closing = 0; closing < 3; ++closing) {
    std::vector<Seen> seen(3);
    auto ends = make_star(GetParam(), 3);
    start_all(ends, seen);
    ends[closing]->send(closing == 0 ? 1 : 0, {.kind = MessageKind::status, .payload = bytes_of("last words")});
    ends[closing]->close();
    ASSERT_TRUE(seen[closing == 0 ? 1 : 0].wait_for_messages(1));
    for (auto& end : ends) {
      end->send(end == ends[0] ? 1 : 0, {.kind = MessageKind::status});  // to one that may have left: ignored
      end->close();
    }
    for (Seen& one : seen) EXPECT_TRUE(one.losses.empty());
  }
}

TEST_P(ControlStar, AMessageToOneselfIsHandedOverBeforeSendReturns) {
  std::vector<Seen> seen(2);
  auto ends = make_star(GetParam(), 2);
  start_all(ends, seen);
  for (const int rank : {0, 1}) {
    ends[rank]->send(rank, {.kind = MessageKind::plan, .number = 7});
    ASSERT_EQ(seen[rank].messages.size(), 1u);
    EXPECT_EQ(seen[rank].messages[0].first, rank);
    EXPECT_EQ(seen[rank].messages[0].second.number, 7u);
  }
  for (auto& end : ends) end->close();
}

TEST_P(ControlStar, AHandlerMayCloseTheChannel) {
  std::vector<Seen> seen(2);
  auto ends = make_star(GetParam(), 2);
  std::thread front([&] { ends[0]->start(seen[0].handlers()); });
  std::promise<void> closed;
  ends[1]->start({.on_message =
                      [&](int, ControlMessage message) {
                        if (message.kind != MessageKind::stop) return;
                        ends[1]->close();
                        closed.set_value();
                      },
                  .on_lost = [](int, const std::string& reason) { ADD_FAILURE() << reason; },
                  .on_dropped = [](const std::string& reason) { ADD_FAILURE() << reason; }});
  front.join();
  ends[0]->send(1, {.kind = MessageKind::stop});
  EXPECT_EQ(closed.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  ends.clear();
  EXPECT_TRUE(seen[0].losses.empty());
}

TEST_P(ControlStar, AWorkerThatIsGivenUpHearsThatRankZeroLives) {
  std::vector<Seen> seen(3);
  auto ends = make_star(GetParam(), 3);
  start_all(ends, seen);
  ends[0]->drop(1, "it is late");
  ASSERT_TRUE(seen[0].wait_for_losses(1));
  EXPECT_EQ(seen[0].losses, (std::vector<std::pair<int, std::string>>{{1, "it is late"}}));
  ASSERT_TRUE(seen[1].wait([&] { return !seen[1].drops.empty(); }));
  EXPECT_TRUE(seen[1].losses.empty());
  ends[1]->send(0, {.kind = MessageKind::status});  // of one that does not know it yet
  ends[2]->send(0, {.kind = MessageKind::result});
  ASSERT_TRUE(seen[0].wait_for_messages(1));
  EXPECT_EQ(seen[0].messages[0].first, 2);
  EXPECT_TRUE(seen[2].losses.empty() && seen[2].drops.empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, ControlStar, testing::Values(Kind::unix_socket, Kind::tls, Kind::local));

TEST(LocalControl, ABrokenEndIsLostOnceAndSilent) {
  std::vector<Seen> seen(3);
  auto ends = make_local_control(3);
  start_all(ends, seen);
  ends[2]->send(0, {.kind = MessageKind::status});
  break_local_control(*ends[2], "killed");
  ends[2]->send(0, {.kind = MessageKind::status});
  ASSERT_TRUE(seen[0].wait_for_losses(1));
  ends[1]->send(0, {.kind = MessageKind::status});
  ASSERT_TRUE(seen[0].wait_for_messages(2));
  EXPECT_EQ(seen[0].messages[1].first, 1);
  EXPECT_EQ(seen[0].losses, (std::vector<std::pair<int, std::string>>{{2, "killed"}}));
}

TEST(SocketControl, RankZeroNamesWhoIsMissing) {
  FrontControl front(identity(0, 4), {.connect_within_ms = 300}, {});
  WorkerControl worker(identity(2, 4), {}, front.address());
  Seen seen_front, seen_worker;
  std::thread thread([&] { worker.start(seen_worker.handlers()); });
  try {
    front.start(seen_front.handlers());
    ADD_FAILURE() << "started without ranks 1 and 3";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("2 of 4 ranks have not connected: 1, 3"));
  }
  thread.join();
}

TEST(SocketControl, AWorkerWithoutARankZeroSaysWhere) {
  for (const std::string address : {"unix:@echelon-nobody-listens", "tls:127.0.0.1|1"}) {
    WorkerControl worker(identity(1, 2), {.connect_within_ms = 200}, address);
    Seen seen;
    try {
      worker.start(seen.handlers());
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("rank 1 cannot reach rank 0 at " + address),
                                               testing::HasSubstr("refused")));
    }
  }
  WorkerControl worker(identity(1, 2), {.connect_within_ms = 200}, "tls:nonsense");
  Seen seen;
  EXPECT_THROW(worker.start(seen.handlers()), Error);
}

TEST(SocketControl, AWrongSecretIsRefused) {
  for (const char* ip : {"", "127.0.0.1"}) {
    FrontControl front(identity(0, 2), {.connect_within_ms = 600}, {ip});
    WorkerControl worker(identity(1, 2, 8), {.connect_within_ms = 300}, front.address());
    Seen seen_front, seen_worker;
    std::thread thread([&] { EXPECT_THROW(front.start(seen_front.handlers()), Error); });
    EXPECT_THROW(worker.start(seen_worker.handlers()), Error);
    thread.join();
    EXPECT_TRUE(seen_front.messages.empty() && seen_front.losses.empty());
  }
}

/// A raw connection to rank 0's Unix socket: what a stranger on the host can do.
class Stranger {
 public:
  explicit Stranger(const std::string& address) : socket_(io_) {
    socket_.connect(boost::asio::local::stream_protocol::endpoint(std::string(1, '\0') + address.substr(6)));
  }
  void write(std::span<const std::byte> bytes) {
    boost::system::error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(bytes.data(), bytes.size()), ignored);
  }
  void write(MessageKind kind, std::vector<std::byte> payload) {
    write(encode_frame({.kind = kind, .payload = std::move(payload)}, identity(0, 2).job_id));
  }
  /// The next message; nothing when rank 0 ended the connection.
  std::optional<ControlMessage> read() {
    FrameDecoder decoder(identity(0, 2).job_id, kMaxPayloadBytes);
    std::vector<ControlMessage> messages;
    while (messages.empty()) {
      std::array<std::byte, 256> buffer;
      boost::system::error_code error;
      const size_t num = socket_.read_some(boost::asio::buffer(buffer), error);
      if (error || !decoder.feed(std::span(buffer).first(num), messages)) return std::nullopt;
    }
    return messages[0];
  }

 private:
  boost::asio::io_context io_;
  boost::asio::local::stream_protocol::socket socket_;
};

TEST(SocketControl, StrangersAreRefusedAndDisturbNobody) {
  FrontControl front(identity(0, 2), {.handshake_within_ms = 400}, {});
  Seen seen_front, seen_worker;
  std::thread starting([&] { front.start(seen_front.handlers()); });

  Stranger talks_http(front.address());
  talks_http.write(bytes_of("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_FALSE(talks_http.read());

  Stranger skips_handshake(front.address());
  skips_handshake.write(MessageKind::stop, {});
  EXPECT_FALSE(skips_handshake.read());

  Stranger large(front.address());
  large.write(MessageKind::hello, std::vector<std::byte>(100'000));
  EXPECT_FALSE(large.read());

  for (const auto& [rank, size] : {std::pair{0u, 2u}, {2u, 2u}, {1u, 3u}, {0xffffffffu, 2u}}) {
    Stranger wrong_rank(front.address());
    wrong_rank.write(MessageKind::hello, encode(HelloAsk{.rank = rank, .size = size}));
    EXPECT_FALSE(wrong_rank.read()) << rank;
  }

  Stranger guesses(front.address());
  const HelloAsk ask{.rank = 1, .size = 2};
  guesses.write(MessageKind::hello, encode(ask));
  const std::optional<ControlMessage> reply = guesses.read();
  ASSERT_TRUE(reply);
  const std::optional<HelloAnswer> answer = decode_answer(reply->payload);
  ASSERT_TRUE(answer);
  guesses.write(MessageKind::hello, encode_prove(answer->proof));  // rank 0's own proof, sent back
  EXPECT_FALSE(guesses.read());

  Stranger says_nothing(front.address());
  EXPECT_FALSE(says_nothing.read());  // ended after handshake_within_ms

  std::vector<std::unique_ptr<Stranger>> crowd;
  for (int i = 0; i < 40; ++i) crowd.push_back(std::make_unique<Stranger>(front.address()));
  WorkerControl worker(identity(1, 2), {}, front.address());
  worker.start(seen_worker.handlers());
  starting.join();
  worker.send(0, {.kind = MessageKind::status, .payload = bytes_of("here")});
  ASSERT_TRUE(seen_front.wait_for_messages(1));

  Stranger second_rank_1(front.address());  // knows the secret, but the place is taken
  second_rank_1.write(MessageKind::hello, encode(ask));
  const auto answer_2 = decode_answer(second_rank_1.read().value().payload);
  second_rank_1.write(MessageKind::hello, encode_prove(prove(identity(0, 2).secret, "worker", identity(0, 2).job_id,
                                                             ask, answer_2.value().nonce)));
  EXPECT_FALSE(second_rank_1.read());
  EXPECT_TRUE(seen_front.losses.empty());
  worker.close();
  front.close();
}

/// A worker in every respect but one: it can fall silent, stop reading, or vanish.
class RawWorker {
 public:
  explicit RawWorker(const std::string& address) : connection_(std::make_unique<Stranger>(address)) {
    const HelloAsk ask{.rank = 1, .size = 2};
    connection_->write(MessageKind::hello, encode(ask));
    const auto answer = decode_answer(connection_->read().value().payload);
    connection_->write(MessageKind::hello, encode_prove(prove(identity(0, 2).secret, "worker", identity(0, 2).job_id,
                                                              ask, answer.value().nonce)));
  }
  void wait_accepted() { ASSERT_TRUE(is_accept(connection_->read().value().payload)); }
  Stranger& connection() { return *connection_; }
  void vanish() { connection_.reset(); }

 private:
  std::unique_ptr<Stranger> connection_;
};

struct FrontAndRawWorker {
  explicit FrontAndRawWorker(ControlTimes times) : front(identity(0, 2), times, {}) {
    std::thread starting([&] { front.start(seen.handlers()); });
    worker.emplace(front.address());
    worker->wait_accepted();
    starting.join();
  }
  Seen seen;
  FrontControl front;
  std::optional<RawWorker> worker;
};

TEST(SocketControl, EndOfFileIsALossAtOnce) {
  FrontAndRawWorker pair({.dead_after_ms = 60'000});
  pair.worker->connection().write(MessageKind::status, bytes_of("last words"));
  pair.worker->vanish();
  ASSERT_TRUE(pair.seen.wait_for_losses(1));
  EXPECT_EQ(pair.seen.messages.size(), 1u) << "what was sent before counts";
  EXPECT_THAT(pair.seen.losses[0].second,
              testing::AnyOf(testing::HasSubstr("connection ended"), testing::HasSubstr("reset")));
  pair.front.send(1, {.kind = MessageKind::plan});  // ignored
  pair.front.close();
  EXPECT_EQ(pair.seen.losses.size(), 1u);
}

TEST(SocketControl, SilenceIsALossAfterItsTime) {
  FrontAndRawWorker pair({.heartbeat_ms = 20, .suspect_after_ms = 60, .dead_after_ms = 200});
  ASSERT_TRUE(pair.seen.wait_for_losses(1));
  EXPECT_THAT(pair.seen.losses[0].second, testing::HasSubstr("nothing was heard of it for 200 ms"));
}

TEST(SocketControl, HeartbeatsKeepAQuietStarAlive) {
  std::vector<Seen> seen(3);
  auto ends = make_star(Kind::unix_socket, 3, {.heartbeat_ms = 20, .suspect_after_ms = 500, .dead_after_ms = 1'000});
  start_all(ends, seen);
  std::this_thread::sleep_for(milliseconds(2'500));
  for (Seen& one : seen) EXPECT_TRUE(one.losses.empty() && one.messages.empty());
  for (auto& end : ends) end->close();
}

TEST(SocketControl, AfterTheHandshakeGarbageIsALoss) {
  FrontAndRawWorker pair({});
  pair.worker->connection().write(bytes_of("this is no frame at all"));
  ASSERT_TRUE(pair.seen.wait_for_losses(1));
  EXPECT_THAT(pair.seen.losses[0].second, testing::HasSubstr("magic"));
}

TEST(SocketControl, APeerThatDoesNotReadIsCutOffAndMemoryStaysBounded) {
  FrontAndRawWorker pair({.dead_after_ms = 60'000});
  const std::vector<std::byte> payload(4 << 20);
  for (int64_t sent = 0; sent <= kMaxQueuedBytes + (8 << 20); sent += 4 << 20)
    pair.front.send(1, {.kind = MessageKind::plan, .payload = payload});
  ASSERT_TRUE(pair.seen.wait_for_losses(1));
  EXPECT_THAT(pair.seen.losses[0].second, testing::HasSubstr("does not read"));
}

TEST(Interfaces, LoopbackIsThereAndUnknownNamesAreListed) {
  for (const char* wanted : {"127.0.0.1", "lo", "127.0.0.0/8"}) EXPECT_EQ(choose_ip_address(wanted), "127.0.0.1");
  EXPECT_THROW(choose_ip_address("240.1.2.0/24"), Error);
  EXPECT_THROW(choose_ip_address("127.0.0.0/33"), Error);
  try {
    choose_ip_address("no-such-interface");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("lo (127.0.0.1)"));
  }
}

}  // namespace
}  // namespace echelon
