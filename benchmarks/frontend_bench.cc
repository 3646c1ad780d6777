// What does the front end cost?  frontend_bench MODEL [streams|ttft|memory]   (all three without a word)
//
// The real front end (sockets, HTTP, JSON, the model's tokenizer and template, server-sent events) before an engine
// that only hands out tokens (burst_engine.h), in a process of its own: its processor time and memory are the kernel's
// figures for that process, engine included; the client's do not count.
// streams: 64 connections ask for chats of 500 tokens, one token a chunk, again and again. Tokens per second of the
//   server's processor time, by how many tokens of a stream may be on their way: with one, every token is a write of
//   its own; with more, those that wait leave together. The ceiling beside it: a loop of send() of as many bytes in as
//   many pieces to the same client. The sides alternate; medians of kRounds.
// ttft: from the request's last byte to the first event's first byte, when the engine answers inside submit(): one
//   connection, one request after another. The ceiling: a thread that answers with the same bytes.
// memory: what the server's memory grows by with 10,000 connections that have been used and idle, and with 1,000
// streams.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks/burst_engine.h"
#include "benchmarks/machine_line.h"
#include "benchmarks/stream_client.h"
#include "engine/engine_options.h"
#include "engine/model_info.h"
#include "engine/text/tokenizer.h"
#include "frontend/front_end.h"

namespace echelon::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7, kStreams = 64, kTokens = 500, kRequests = 4;  ///< each stream's requests of a round
constexpr int kProbes = 4000;
constexpr size_t kIdleRequestBytes = 8 << 10;
constexpr int kIdle = 10'000, kOpenStreams = 1'000, kTokensWhenOpen = 100;
constexpr std::string_view kText =
    "The keeper of the lighthouse wrote down every evening what the day had brought: two boats from the north, a "
    "letter, "
    "rain before noon, and a wind that turned. \"Nothing else,\" he wrote, and then he crossed it out again.\n";

std::string chat_request(int num_tokens, std::string_view more = "") {
  return post_text(
      "/v1/chat/completions",
      fmt::format(R"({{"model":"{}","messages":[{{"role":"user","content":"Tell me of the lighthouse.{}"}}],)"
                  R"("max_tokens":{},"temperature":0,"stream":true}})",
                  "bench", more, num_tokens));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double at(const std::vector<double>& sorted, double share) {
  return sorted[std::min(sorted.size() - 1, static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

/// What a child process and this one share.
struct Shared {
  BurstState engine;
  std::atomic<int> port{0};  ///< when the child listens; -1: it failed
};

/// A process that runs `serve(shared)`, which sets the port and returns when `shared.port` is 0 again.
class Child {
 public:
  template <typename Serve>
  explicit Child(Serve serve) {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
    shared_ = new (memory) Shared;
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("cannot fork");
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::prctl(PR_SET_NAME, "server");  // of all its threads, for perf --comm
      try {
        serve(*shared_);
      } catch (const std::exception& fault) {
        fmt::print(stderr, "frontend_bench: {}\n", fault.what());
        shared_->port.store(-1);
      }
      ::_exit(0);
    }
    while (shared_->port.load() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (shared_->port.load() < 0) throw std::runtime_error("the server did not start");
    ::clock_getcpuclockid(pid_, &clock_);
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::munmap(shared_, sizeof(Shared));
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  Shared& shared() { return *shared_; }
  uint16_t port() const { return static_cast<uint16_t>(shared_->port.load()); }
  double cpu_seconds() const { return static_cast<double>(cpu_ns(clock_)) * 1e-9; }
  double resident_kib() const {
    std::ifstream file(fmt::format("/proc/{}/statm", pid_));
    double pages = 0, resident = 0;
    file >> pages >> resident;
    return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1024;
  }

 private:
  Shared* shared_ = nullptr;
  pid_t pid_ = -1;
  clockid_t clock_{};
};

[[noreturn]] void sleep_for_ever() {
  for (;;) ::pause();
}

void serve_front_end(const std::shared_ptr<const ModelInfo>& model, Shared& shared) {
  BurstEngine engine(model, model->tokenizer->encode(kText), shared.engine);
  ServerOptions options;
  options.port = 0;
  options.max_connections = kIdle + kOpenStreams + 64;
  options.connections_per_address = 0;
  options.idle_timeout = std::chrono::minutes(10);
  FrontEnd front(options, engine);
  front.start();
  shared.port.store(front.port());
  sleep_for_ever();
}

int listen_anywhere(Shared& shared) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 1024) != 0)
    throw std::runtime_error("cannot listen");
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  shared.port.store(ntohs(address.sin_port));
  return listener;
}

int accept_one(int listener) {
  const int socket = ::accept(listener, nullptr, nullptr);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

/// Sends `num_pieces` pieces of `piece_bytes` over kStreams connections in turn.
void serve_pieces(Shared& shared, size_t piece_bytes, uint64_t num_pieces) {
  const int listener = listen_anywhere(shared);
  std::vector<int> sockets(kStreams);
  for (int& socket : sockets) socket = accept_one(listener);
  const std::string piece(piece_bytes, 'x');
  const int64_t begin = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
  for (uint64_t i = 0; i < num_pieces; ++i) send_all(sockets[i % kStreams], piece);
  shared.engine.engine_ns.store(cpu_ns(CLOCK_THREAD_CPUTIME_ID) - begin);
  for (const int socket : sockets) ::close(socket);
  sleep_for_ever();
}

/// Seconds of processor time that so many bytes in so many pieces take a bare loop of send().
double bare_sends(uint64_t bytes, uint64_t num_pieces) {
  Child child([&](Shared& shared) { serve_pieces(shared, std::max<uint64_t>(1, bytes / num_pieces), num_pieces); });
  StreamClient client(child.port(), kStreams);
  client.drain();
  return static_cast<double>(child.shared().engine.engine_ns.load()) * 1e-9;
}

void measure_streams(const std::shared_ptr<const ModelInfo>& model) {
  fmt::print("\nstreams: {} at once, {} tokens each, {} rounds of {} requests a stream\n\n", kStreams, kTokens, kRounds,
             kRequests);
  fmt::print(
      "| on their way | tokens a write | bytes a token | tokens/s/core | of it engine | bare send() | share | "
      "tokens/s by the clock |\n|---|---|---|---|---|---|---|---|\n");
  for (const int window : {1, 4, 16, 64}) {
    Child server([&](Shared& shared) { serve_front_end(model, shared); });
    BurstState& engine = server.shared().engine;
    engine.window.store(window);
    StreamClient client(server.port(), kStreams);
    const auto took = [&](int64_t tokens) { engine.taken.fetch_add(tokens); };
    const std::string request = chat_request(kTokens);
    client.run(request, 1, took);  // warms up
    std::vector<double> rates, walls, ceilings, engine_shares;
    StreamCounts counts;
    for (int round = 0; round < kRounds; ++round) {
      const double cpu = server.cpu_seconds();
      const int64_t engine_ns = engine.engine_ns.load();
      const auto begin = Clock::now();
      counts = client.run(request, kRequests, took);
      const double wall = std::chrono::duration<double>(Clock::now() - begin).count();
      const double spent = server.cpu_seconds() - cpu;
      if (counts.events != uint64_t{kStreams} * kRequests * kTokens) throw std::runtime_error("not a chunk a token");
      const auto tokens = static_cast<double>(counts.events);
      rates.push_back(tokens / spent);
      walls.push_back(tokens / wall);
      engine_shares.push_back(static_cast<double>(engine.engine_ns.load() - engine_ns) * 1e-9 / spent);
      ceilings.push_back(tokens / bare_sends(counts.bytes, counts.pieces + 2 * counts.responses));
    }
    fmt::print("| {} | {:.1f} | {:.0f} | {:.0f} k | {:.0f} % | {:.0f} k | {:.0f} % | {:.0f} k |\n", window,
               static_cast<double>(counts.events) / static_cast<double>(counts.pieces),
               static_cast<double>(counts.bytes) / static_cast<double>(counts.events), median(rates) / 1e3,
               median(engine_shares) * 100, median(ceilings) / 1e3, 100 * median(rates) / median(ceilings),
               median(walls) / 1e3);
    std::fflush(stdout);
  }
}

/// Microseconds from the last byte of `request` to the first byte of an event, sorted. `answer`: how it ends.
std::vector<double> first_events(uint16_t port, const std::string& request) {
  const int socket = connect_to(port);
  std::vector<double> times;
  std::string received;
  std::vector<char> buffer(64 << 10);
  const auto read_until = [&](std::string_view text) {
    while (received.find(text) == std::string::npos) {
      const ssize_t count = ::recv(socket, buffer.data(), buffer.size(), 0);
      if (count <= 0) throw std::runtime_error("the server has closed the connection");
      received.append(buffer.data(), static_cast<size_t>(count));
    }
  };
  for (int i = 0; i < kProbes + kProbes / 10; ++i) {
    received.clear();
    send_all(socket, request);
    const auto begin = Clock::now();
    read_until("data: ");
    const double time = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    if (i >= kProbes / 10) times.push_back(time);
    read_until("0\r\n\r\n");
  }
  ::close(socket);
  std::sort(times.begin(), times.end());
  return times;
}

/// A thread that reads and answers: the way through the kernel and back.
void serve_echo(Shared& shared) {
  const std::string answer =
      "HTTP/1.1 200 OK\r\n" + std::string(300, ' ') + "data: " + std::string(250, 'x') + "0\r\n\r\n";
  const int listener = listen_anywhere(shared);
  const int socket = accept_one(listener);
  std::vector<char> buffer(64 << 10);
  while (::recv(socket, buffer.data(), buffer.size(), 0) > 0) send_all(socket, answer);
  sleep_for_ever();
}

void measure_ttft(const std::shared_ptr<const ModelInfo>& model) {
  fmt::print(
      "\nttft: {} requests one after another, microseconds\n\n| round | front end p50 | p99 | bare echo p50 | p99 |\n"
      "|---|---|---|---|---|\n",
      kProbes);
  Child server([&](Shared& shared) { serve_front_end(model, shared); });
  server.shared().engine.taken.store(1u << 30);  // nothing waits for the client
  server.shared().engine.window.store(1 << 20);
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<double> ours = first_events(server.port(), chat_request(2));
    Child echo([](Shared& shared) { serve_echo(shared); });
    const std::vector<double> bare = first_events(echo.port(), chat_request(2));
    fmt::print("| {} | {:.0f} | {:.0f} | {:.0f} | {:.0f} |\n", round + 1, at(ours, 0.5), at(ours, 0.99), at(bare, 0.5),
               at(bare, 0.99));
    std::fflush(stdout);
  }
}

void raise_file_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < kIdle + kOpenStreams + 64)
    throw std::runtime_error(fmt::format("RLIMIT_NOFILE is {}: too few connections", limit.rlim_max));
}

void measure_memory(const std::shared_ptr<const ModelInfo>& model) {
  raise_file_limit();
  Child server([&](Shared& shared) { serve_front_end(model, shared); });
  BurstState& engine = server.shared().engine;
  const auto took = [&](int64_t tokens) { engine.taken.fetch_add(tokens); };
  StreamClient(server.port(), kStreams).run(chat_request(kTokens), 2, took);  // warms up
  const double before = server.resident_kib();
  constexpr uint64_t kAllOpen = uint64_t{kOpenStreams} * kTokensWhenOpen;
  engine.limit.store(engine.made.load() + static_cast<int64_t>(kAllOpen));
  StreamClient streams(server.port(), kOpenStreams);
  streams.run(chat_request(kTokens), 1, took, [&](const StreamCounts& counts) { return counts.events >= kAllOpen; });
  const double streaming = server.resident_kib();
  StreamClient idle(server.port(), kIdle);
  idle.run(chat_request(1, std::string(kIdleRequestBytes, ' ')), 1, took);
  const double all = server.resident_kib();
  fmt::print("\nmemory: {} streams, then beside them {} connections\n\n", kOpenStreams, kIdle);
  fmt::print("{:.1f} KiB a stream that has given {} tokens\n", (streaming - before) / kOpenStreams, kTokensWhenOpen);
  fmt::print("{:.1f} KiB a connection that was answered once (a request of 8 KiB) and is idle\n",
             (all - streaming) / kIdle);
}

int run(const std::string& path, const std::string& what) {
  EngineOptions options;
  options.model = path;
  options.served_model_name = "bench";
  const std::shared_ptr<const ModelInfo> model = make_model_info(options, open_model(path));
  fmt::print("frontend_bench: {}\n", machine_line());
  if (what.empty() || what == "streams") measure_streams(model);
  if (what.empty() || what == "ttft") measure_ttft(model);
  if (what.empty() || what == "memory") measure_memory(model);
  return 0;
}

}  // namespace
}  // namespace echelon::bench

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: frontend_bench MODEL [streams|ttft|memory]\n");
    return 2;
  }
  try {
    return echelon::bench::run(argv[1], argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "frontend_bench: {}\n", error.what());
    return 1;
  }
}
