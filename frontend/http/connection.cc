// Beginning and end of TLS. Reading and writing are in the header: they are templates of the completion's type.
#include "frontend/http/connection.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "kernels/base/log.h"

namespace echelon {
namespace {

namespace asio = boost::asio;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

}  // namespace

asio::awaitable<Handshake> Connection::shake_hands() {
  if (!tls_) co_return Handshake::done;
  const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::server, kAwait);
  if (!error) co_return Handshake::done;
  log::debug("http: no TLS handshake: {}", error.message());
  const bool speaks_http = error.category() == asio::error::get_ssl_category() &&
                           ERR_GET_REASON(static_cast<unsigned long>(error.value())) == SSL_R_HTTP_REQUEST;
  tls_.reset();
  co_return speaks_http ? Handshake::spoke_http : Handshake::failed;
}

bool Connection::has_ended() {
  pollfd state{.fd = plain_.socket().native_handle(), .events = POLLRDHUP, .revents = 0};
  return !plain_.socket().is_open() || ::poll(&state, 1, 0) != 0;
}

size_t Connection::write_now(std::string_view bytes) {
  if (tls_) return 0;
  const ssize_t count =
      ::send(plain_.socket().native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return count > 0 ? static_cast<size_t>(count) : 0;
}

asio::awaitable<void> Connection::end() {
  if (tls_) co_await tls_->async_shutdown(kAwait);  // what the other side says to it is its own affair
  boost::beast::error_code ignored;
  plain_.socket().shutdown(asio::socket_base::shutdown_both, ignored);
}

}  // namespace echelon
