// The bytes of one connection, in clear or through TLS, with a deadline on whatever waits. An AsyncReadStream and
// AsyncWriteStream of Asio. Everything on the socket's executor.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "frontend/http/listener.h"

namespace echelon {

enum class Handshake { done, spoke_http, failed };

class Connection {
  using Plain = boost::beast::basic_stream<boost::asio::generic::stream_protocol>;

 public:
  using executor_type = Plain::executor_type;

  /// With `tls`, which need not live on (OpenSSL counts who uses it), nothing is read or written before a handshake.
  Connection(StreamSocket socket, boost::asio::ssl::context* tls) : plain_(std::move(socket)) {
    if (tls != nullptr) tls_.emplace(plain_, *tls);
  }

  executor_type get_executor() { return plain_.get_executor(); }
  StreamSocket& socket() { return plain_.socket(); }
  bool has_tls() const { return tls_.has_value(); }
  void expires_after(std::chrono::milliseconds time) { plain_.expires_after(time); }
  void expires_never() { plain_.expires_never(); }
  void close() { plain_.close(); }

  /// The other side sends nothing more, or the connection is broken; bytes that were not read do not hide it.
  bool has_ended();

  /// The handshake of TLS; without TLS it is done. When the client spoke HTTP instead, what follows goes in clear.
  boost::asio::awaitable<Handshake> shake_hands();
  /// Says goodbye in TLS, where there is one, and shuts the socket down. The deadline bounds it.
  boost::asio::awaitable<void> end();

  /// Writes what the socket takes without waiting and returns how much that was: 0 with TLS, and where writing fails (a
  /// write that waits says how).
  size_t write_now(std::string_view bytes);

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return plain_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return plain_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Plain plain_;
  std::optional<boost::asio::ssl::stream<Plain&>> tls_;
};

}  // namespace echelon
