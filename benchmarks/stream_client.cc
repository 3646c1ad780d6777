// Counting in what was read: an event ends with an empty line ("\n\n"), a piece of chunked coding with "\r\n" behind
// it, an answer with "0\r\n\r\n".
#include "benchmarks/stream_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <stdexcept>

namespace echelon::bench {
namespace {

constexpr size_t kReadBytes = 256 << 10;
constexpr int kDeadlineMs = 60'000;
constexpr std::string_view kEnd = "0\r\n\r\n";

}  // namespace

int connect_to(uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) throw std::runtime_error(fmt::format("no socket: {}", std::strerror(errno)));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error(fmt::format("cannot connect to port {}: {}", port, std::strerror(errno)));
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

void send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0) throw std::runtime_error(fmt::format("cannot send: {}", std::strerror(errno)));
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

std::string post_text(std::string_view path, std::string_view body) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", path,
      body.size(), body);
}

StreamClient::StreamClient(uint16_t port, int num_connections)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), buffer_(kTailBytes + kReadBytes) {
  for (int i = 0; i < num_connections; ++i) connections_.emplace_back().socket = connect_to(port);
  for (size_t i = 0; i < connections_.size(); ++i) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[i].socket, &event);
  }
}

StreamClient::~StreamClient() {
  for (const Connection& connection : connections_) ::close(connection.socket);
  ::close(epoll_);
}

bool StreamClient::read(Connection& connection, StreamCounts& counts) {
  char* const begin = buffer_.data() + kTailBytes;
  const ssize_t count = ::recv(connection.socket, begin, kReadBytes, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (count <= 0) throw std::runtime_error("the server has closed a connection");
  counts.bytes += static_cast<uint64_t>(count);
  std::string& tail = connection.tail;
  std::memset(buffer_.data(), 0, kTailBytes);
  std::memcpy(begin - tail.size(), tail.data(), tail.size());
  const char* const end = begin + count;
  for (const char* at = begin; at < end; ++at) {
    at = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    if (at == nullptr) break;
    if (at[-1] == '\n') ++counts.events;
    if (at[-1] == '\r' && at[-2] == '\n' && at[-3] == '\n') ++counts.pieces;
  }
  tail.append(begin, static_cast<size_t>(count));
  if (tail.size() > kTailBytes) tail.erase(0, tail.size() - kTailBytes);
  if (tail != kEnd) return false;
  tail.clear();
  ++counts.responses;
  --counts.events;  // [DONE]
  return true;
}

StreamCounts StreamClient::run(std::string_view request, int num_requests, const std::function<void(int64_t)>& took,
                               const std::function<bool(const StreamCounts&)>& enough) {
  StreamCounts counts;
  size_t num_open = 0;
  const auto ask = [&](Connection& connection) {
    connection.is_open = connection.num_left-- > 0;
    if (!connection.is_open) return;
    ++num_open;
    send_all(connection.socket, request);
  };
  for (Connection& connection : connections_) {
    connection.num_left = num_requests;
    ask(connection);
  }
  std::array<epoll_event, 256> ready{};
  while (num_open > 0 && !(enough && enough(counts))) {
    const int num_ready = ::epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), kDeadlineMs);
    if (num_ready <= 0) throw std::runtime_error("no bytes from the server within the deadline");
    for (int i = 0; i < num_ready; ++i) {
      Connection& connection = connections_[ready[static_cast<size_t>(i)].data.u64];
      const uint64_t before = counts.events;
      const bool ended = read(connection, counts);
      took(static_cast<int64_t>(counts.events - before));
      if (!ended) continue;
      --num_open;
      ask(connection);
    }
  }
  return counts;
}

uint64_t StreamClient::drain() {
  uint64_t bytes = 0;
  size_t num_open = connections_.size();
  std::array<epoll_event, 256> ready{};
  while (num_open > 0) {
    const int num_ready = ::epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), kDeadlineMs);
    if (num_ready <= 0) throw std::runtime_error("no bytes within the deadline");
    for (int i = 0; i < num_ready; ++i) {
      const int socket = connections_[ready[static_cast<size_t>(i)].data.u64].socket;
      const ssize_t count = ::recv(socket, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
      if (count > 0) bytes += static_cast<uint64_t>(count);
      if (count != 0) continue;
      ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
      --num_open;
    }
  }
  return bytes;
}

}  // namespace echelon::bench
