// What the HTTP server is told once, at start: where to listen, what to allow, and a named limit on everything that a
// client could make grow.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace echelon {

struct ServerOptions {
  std::string host = "127.0.0.1";            ///< name or address; "::" and "0.0.0.0" mean every interface
  uint16_t port = 8000;                      ///< 0: any free one, see HttpServer::port()
  uint16_t last_port = 0;                    ///< the first free one from port to this; 0: port alone
  std::vector<std::string> listen;           ///< "unix:PATH", "HOST:PORT"; in place of host and port; empty: those
  std::string tls_certificate, tls_key;      ///< PEM files; empty: no TLS. Unix-domain sockets go without
  int threads = 2;                           ///< io threads; at least 1
  int text_threads = 1;                      ///< for large bodies: JSON, templates, tokenising
  std::vector<std::string> api_keys;         ///< in clear; with api_key_file empty, too: no key is asked for
  std::string api_key_file;                  ///< as access/api_keys.h has it
  int64_t limit_requests_per_min = 0;        ///< of a key that has no limit of its own; 0: any
  int64_t limit_tokens_per_min = 0;          ///< likewise
  std::string request_log;                   ///< file, as access/request_log.h has it; empty: none
  bool request_log_text = false;             ///< bodies of requests and answers, too
  bool prefix_cache_per_key = true;          ///< keys share no prefixes
  std::vector<std::string> allowed_origins;  ///< CORS; empty: off; "*": any origin
  std::string batch_dir;                     ///< files and batches are kept here; empty: there are none
  int batch_running = 32;                    ///< choices of batches in the engine at once
  int64_t batch_disk_bytes = 10ll << 30;     ///< of all files and results together
  std::string journal_dir;                   ///< streams are kept here, to be resumed; empty: they are not
  std::chrono::seconds journal_keep{3600};   ///< behind a stream's last token

  size_t max_connections = 1024;         ///< beyond, and where the process may not open so many files: 503 and close
  size_t connections_per_address = 512;  ///< of TCP (IPv6: of a /64 network); beyond: 429 and close; 0: any
  size_t header_bytes = 32 << 10;        ///< request line and fields, and likewise extensions of chunks; beyond: 431
  size_t target_bytes = 8 << 10;         ///< beyond: 414
  size_t body_bytes = 32 << 20;          ///< beyond: 413
  size_t file_bytes = 100 << 20;         ///< of an upload, with its form; beyond: 413
  size_t total_body_bytes = 256 << 20;   ///< bodies of all connections together; beyond: 503
  size_t inline_body_bytes = 16 << 10;   ///< larger bodies are worked on by the text threads
  size_t logged_text_bytes = 1 << 20;    ///< of a body in the log of requests; the rest is left out
  size_t pipelined_bytes = 64 << 10;     ///< read ahead while a request runs; beyond: left in the socket
  size_t stream_buffer_bytes = 1 << 20;  ///< written but not yet taken by a slow reader; beyond: cut off
  int socket_send_bytes = 0;             ///< SO_SNDBUF; 0: the system's

  std::chrono::milliseconds handshake_timeout{10'000};  ///< of TLS
  std::chrono::milliseconds header_timeout{10'000};     ///< from the first byte to the end of the header
  std::chrono::milliseconds body_timeout{60'000};       ///< the whole body
  std::chrono::milliseconds idle_timeout{75'000};       ///< between requests
  std::chrono::milliseconds write_timeout{30'000};      ///< one write without progress (plus time for its size)
  std::chrono::milliseconds linger_timeout{2'000};      ///< after a refusal: reading what the client still sends
  std::chrono::milliseconds comment_period{15'000};     ///< a stream silent for so long gets a comment; 0: never
};

}  // namespace echelon
