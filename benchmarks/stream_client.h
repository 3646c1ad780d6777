// The client's side of frontend_bench: many connections on one thread, which counts what comes and parses nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace echelon::bench {

/// A blocking connection to 127.0.0.1 without Nagle's delay. Throws std::runtime_error.
int connect_to(uint16_t port);
void send_all(int socket, std::string_view bytes);
std::string post_text(std::string_view path, std::string_view body);

struct StreamCounts {
  uint64_t responses = 0;
  uint64_t events = 0;  ///< [DONE] not counted
  uint64_t pieces = 0;  ///< of chunked coding with events in them: what the server wrote at once
  uint64_t bytes = 0;
};

/// Connections that ask one after another for streams, all at once.
class StreamClient {
 public:
  StreamClient(uint16_t port, int num_connections);
  ~StreamClient();
  StreamClient(const StreamClient&) = delete;
  StreamClient& operator=(const StreamClient&) = delete;

  /// Sends `request` on every connection, `num_requests` times after each other, and reads until all answers have
  /// ended, or until `enough` says so. `took` is told of every read: how many events came.
  StreamCounts run(std::string_view request, int num_requests, const std::function<void(int64_t)>& took,
                   const std::function<bool(const StreamCounts&)>& enough = {});
  /// Reads until every connection has been closed by the other side; returns the bytes.
  uint64_t drain();

 private:
  struct Connection {
    int socket = -1;
    int num_left = 0;      ///< requests that are to be sent
    bool is_open = false;  ///< an answer is coming
    std::string tail;      ///< the last bytes that were read, at most kTailBytes
  };
  static constexpr size_t kTailBytes = 5;
  /// True: the answer has ended.
  bool read(Connection& connection, StreamCounts& counts);

  int epoll_;
  std::vector<Connection> connections_;
  std::vector<char> buffer_;
};

}  // namespace echelon::bench
