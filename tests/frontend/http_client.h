// A blocking HTTP client for tests: sends bytes exactly as written, reads with a deadline, and can leave at any moment.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace echelon::testing {

struct ClientResponse {
  int status = 0;
  std::string body;
  boost::beast::http::fields fields;
  bool keep_alive = false;
  boost::json::value json() const { return boost::json::parse(body); }
  std::string field(std::string_view name) const {
    const auto found = fields.find(boost::beast::string_view(name.data(), name.size()));
    return found == fields.end() ? std::string() : std::string(found->value());
  }
};

class HttpClient {
 public:
  /// `receive_bytes` > 0: SO_RCVBUF, for slow readers.
  explicit HttpClient(uint16_t port, int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_bytes > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("the server does not accept connections");
  }
  /// Of a Unix-domain socket.
  explicit HttpClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("nobody listens on " + path);
  }
  ~HttpClient() { leave(); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void leave() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  void end_sending() { ::shutdown(socket_, SHUT_WR); }

  /// False when the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      pollfd ready{.fd = socket_, .events = POLLOUT, .revents = 0};
      if (::poll(&ready, 1, kDeadlineMs) <= 0) return false;
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0) return false;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
    return true;
  }

  /// More bytes into the buffer. False at the end of the connection; throws after the deadline.
  bool receive(int deadline_ms = kDeadlineMs) {
    pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, deadline_ms) <= 0) throw std::runtime_error("no bytes from the server within the deadline");
    char bytes[16384];
    const ssize_t count = ::recv(socket_, bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    received_.append(bytes, static_cast<size_t>(count));
    return true;
  }

  /// The next whole response; nothing when the server closes instead of answering.
  std::optional<ClientResponse> response(bool to_head = false) {
    namespace http = boost::beast::http;
    for (;;) {
      http::response_parser<http::string_body> parser;
      parser.body_limit(size_t{1} << 30);
      parser.eager(true);
      parser.skip(to_head);
      boost::beast::error_code error;
      size_t used = 0;
      if (!received_.empty()) used = parser.put(boost::asio::buffer(received_), error);
      if (error && error != http::error::need_more) throw std::runtime_error("broken response: " + error.message());
      if (parser.is_done()) {
        received_.erase(0, used);
        return finished(parser.release());
      }
      if (receive()) continue;
      if (!parser.is_header_done()) return std::nullopt;
      parser.put_eof(error);
      if (error) return std::nullopt;
      received_.clear();
      return finished(parser.release());
    }
  }

  /// Reads until `text` is among the received bytes.
  bool wait_for(std::string_view text) {
    while (received_.find(text) == std::string::npos) {
      if (!receive()) return false;
    }
    return true;
  }
  /// Reads to the end of the connection.
  std::string rest() {
    while (receive()) {
    }
    return received_;
  }
  const std::string& received() const { return received_; }

  static constexpr int kDeadlineMs = 30'000;

 private:
  template <typename Message>
  static ClientResponse finished(Message message) {
    ClientResponse response;
    response.status = static_cast<int>(message.result_int());
    response.keep_alive = message.keep_alive();
    response.body = std::move(message.body());
    response.fields = std::move(message.base());
    return response;
  }

  int socket_;
  std::string received_;
};

inline std::string get_text(std::string_view path, std::string_view fields = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: test\r\n{}\r\n", path, fields);
}
inline std::string post_text(std::string_view path, std::string_view body, std::string_view fields = "") {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}", path,
      body.size(), fields, body);
}

/// One exchange on a connection of its own.
inline ClientResponse ask(uint16_t port, std::string_view text) {
  HttpClient client(port);
  client.send(text);
  auto response = client.response();
  if (!response) throw std::runtime_error("the server closed without an answer");
  return std::move(*response);
}

/// Waits for what another thread does soon.
template <typename Condition>
bool becomes_true(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// The `data:` payloads of a stream's body, in order.
inline std::vector<std::string> stream_data(std::string_view body) {
  std::vector<std::string> data;
  while (!body.empty()) {
    const size_t end = body.find("\n\n");
    if (end == std::string_view::npos) throw std::runtime_error("an event without an end");
    const std::string_view event = body.substr(0, end);
    body.remove_prefix(end + 2);
    if (event.starts_with("data: ")) data.emplace_back(event.substr(6));
  }
  return data;
}

}  // namespace echelon::testing
