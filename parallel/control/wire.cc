// Asio sockets behind Wire. Descriptors are closed on exec.
#include "parallel/control/wire.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <cstring>

#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
using asio::use_awaitable;
using Unix = asio::local::stream_protocol;
using Tcp = asio::ip::tcp;

constexpr std::string_view kUnixPrefix = "unix:@", kTlsPrefix = "tls:";
constexpr const char* kPskIdentity = "echelon";

void close_on_exec(int fd) { fcntl(fd, F_SETFD, FD_CLOEXEC); }

class UnixWire : public Wire {
 public:
  explicit UnixWire(Unix::socket socket) : socket_(std::move(socket)) { close_on_exec(socket_.native_handle()); }
  asio::awaitable<size_t> read_some(asio::mutable_buffer into) override {
    const size_t num = co_await socket_.async_read_some(into, use_awaitable);
    co_return num;
  }
  asio::awaitable<void> write(asio::const_buffer bytes) override {
    co_await asio::async_write(socket_, bytes, use_awaitable);
  }
  void end_writing() override {
    boost::system::error_code ignored;
    socket_.shutdown(Unix::socket::shutdown_send, ignored);
  }
  void close() override {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  Unix::socket socket_;
};

/// A TLS context for one side. The key is looked up through an index of our own: Asio uses the context's application
/// data itself.
class PskContext {
 public:
  PskContext(asio::ssl::context::method method, const JobSecret& secret)
      : context_(method), key_(derive_key(secret, "control tls")) {
    SSL_CTX* native = context_.native_handle();
    const bool fine = SSL_CTX_set_ex_data(native, own_index(), this) == 1 &&
                      SSL_CTX_set_min_proto_version(native, TLS1_3_VERSION) == 1 &&
                      SSL_CTX_set_ciphersuites(native, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") == 1;
    if (!fine) throw Error(Part::parallel, "this OpenSSL has no TLS 1.3; the control channel needs it between hosts");
    SSL_CTX_set_psk_client_callback(native,
                                    [](SSL* ssl, const char*, char* identity, unsigned int identity_size,
                                       unsigned char* key, unsigned int key_size) -> unsigned int {
                                      if (std::strlen(kPskIdentity) + 1 > identity_size) return 0;
                                      std::memcpy(identity, kPskIdentity, std::strlen(kPskIdentity) + 1);
                                      return copy_key(ssl, key, key_size);
                                    });
    SSL_CTX_set_psk_server_callback(
        native, [](SSL* ssl, const char* identity, unsigned char* key, unsigned int key_size) -> unsigned int {
          return std::strcmp(identity, kPskIdentity) == 0 ? copy_key(ssl, key, key_size) : 0;
        });
    SSL_CTX_set_num_tickets(native, 0);
  }
  PskContext(const PskContext&) = delete;
  asio::ssl::context& get() { return context_; }

 private:
  static int own_index() {
    static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
  }
  static unsigned int copy_key(SSL* ssl, unsigned char* key, unsigned int key_size) {
    const auto* self = static_cast<const PskContext*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), own_index()));
    if (self == nullptr || key_size < self->key_.size()) return 0;
    std::memcpy(key, self->key_.data(), self->key_.size());
    return static_cast<unsigned int>(self->key_.size());
  }

  asio::ssl::context context_;
  JobSecret key_;
};

class TlsWire : public Wire {
 public:
  /// `context` is shared by the listener and its wires, or owned by this one.
  TlsWire(Tcp::socket socket, std::shared_ptr<PskContext> context)
      : context_(std::move(context)), stream_(std::move(socket), context_->get()) {
    close_on_exec(stream_.lowest_layer().native_handle());
    boost::system::error_code ignored;
    stream_.lowest_layer().set_option(Tcp::no_delay(true), ignored);
  }
  asio::awaitable<void> handshake(asio::ssl::stream_base::handshake_type type) {
    co_await stream_.async_handshake(type, use_awaitable);
  }
  asio::awaitable<size_t> read_some(asio::mutable_buffer into) override {
    const size_t num = co_await stream_.async_read_some(into, use_awaitable);
    co_return num;
  }
  asio::awaitable<void> write(asio::const_buffer bytes) override {
    co_await asio::async_write(stream_, bytes, use_awaitable);
  }
  void end_writing() override {
    boost::system::error_code ignored;
    stream_.lowest_layer().shutdown(Tcp::socket::shutdown_send, ignored);
  }
  void close() override {
    boost::system::error_code ignored;
    stream_.lowest_layer().close(ignored);
  }

 private:
  std::shared_ptr<PskContext> context_;
  asio::ssl::stream<Tcp::socket> stream_;
};

class UnixListener : public WireListener {
 public:
  UnixListener(asio::io_context& io, std::string name)
      : name_(std::move(name)), acceptor_(io, Unix::endpoint(std::string(1, '\0') + name_)) {
    close_on_exec(acceptor_.native_handle());
  }
  std::string address() const override { return std::string(kUnixPrefix) + name_; }
  asio::awaitable<std::unique_ptr<Wire>> accept() override {
    Unix::socket socket = co_await acceptor_.async_accept(use_awaitable);
    co_return std::make_unique<UnixWire>(std::move(socket));
  }
  asio::awaitable<void> secure(Wire&) override { co_return; }
  void close() override {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
  }

 private:
  std::string name_;
  Unix::acceptor acceptor_;
};

class TlsListener : public WireListener {
 public:
  TlsListener(asio::io_context& io, const asio::ip::address& ip, const JobSecret& secret)
      : context_(std::make_shared<PskContext>(asio::ssl::context::tls_server, secret)),
        acceptor_(io, Tcp::endpoint(ip, 0)) {
    close_on_exec(acceptor_.native_handle());
  }
  std::string address() const override {
    const Tcp::endpoint local = acceptor_.local_endpoint();
    return fmt::format("{}{}|{}", kTlsPrefix, local.address().to_string(), local.port());
  }
  asio::awaitable<std::unique_ptr<Wire>> accept() override {
    Tcp::socket socket = co_await acceptor_.async_accept(use_awaitable);
    co_return std::make_unique<TlsWire>(std::move(socket), context_);
  }
  asio::awaitable<void> secure(Wire& wire) override {
    co_await static_cast<TlsWire&>(wire).handshake(asio::ssl::stream_base::server);
  }
  void close() override {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
  }

 private:
  std::shared_ptr<PskContext> context_;
  Tcp::acceptor acceptor_;
};

Tcp::endpoint parse_tls_address(const std::string& address) {
  const size_t bar = address.rfind('|');
  uint16_t port = 0;
  boost::system::error_code error;
  asio::ip::address ip;
  if (bar != std::string::npos) {
    ip = asio::ip::make_address(address.substr(kTlsPrefix.size(), bar - kTlsPrefix.size()), error);
    std::from_chars(address.data() + bar + 1, address.data() + address.size(), port);
  }
  if (bar == std::string::npos || error || port == 0) {
    throw Error(Part::parallel, fmt::format("control address \"{}\" is not tls:ADDRESS|PORT", address));
  }
  return {ip, port};
}

}  // namespace

std::unique_ptr<WireListener> listen_on_host(asio::io_context& io) {
  std::array<std::byte, 16> random;
  fill_random(random);
  std::string name = "echelon-";
  for (const std::byte byte : random) name += fmt::format("{:02x}", static_cast<int>(byte));
  try {
    return std::make_unique<UnixListener>(io, name);
  } catch (const boost::system::system_error& error) {
    throw Error(Part::parallel,
                fmt::format("control channel: cannot listen on a Unix socket: {}", error.code().message()));
  }
}

std::unique_ptr<WireListener> listen_on_network(asio::io_context& io, const std::string& ip_address,
                                                const JobSecret& secret) {
  try {
    return std::make_unique<TlsListener>(io, asio::ip::make_address(ip_address), secret);
  } catch (const boost::system::system_error& error) {
    throw Error(Part::parallel,
                fmt::format("control channel: cannot listen on \"{}\": {}", ip_address, error.code().message()));
  }
}

asio::awaitable<std::unique_ptr<Wire>> connect_wire(asio::io_context& io, const std::string& address,
                                                    const JobSecret& secret) {
  if (address.starts_with(kUnixPrefix)) {
    constexpr size_t kMaxName = 100;  // sun_path holds 107 and the leading zero
    const std::string name = address.substr(kUnixPrefix.size());
    if (name.empty() || name.size() > kMaxName) {
      throw Error(Part::parallel, fmt::format("control address \"{}\" has a name of {} bytes; 1 to {} are possible",
                                              address, name.size(), kMaxName));
    }
    Unix::socket socket(io);
    co_await socket.async_connect(Unix::endpoint(std::string(1, '\0') + name), use_awaitable);
    co_return std::make_unique<UnixWire>(std::move(socket));
  }
  if (!address.starts_with(kTlsPrefix)) {
    throw Error(Part::parallel,
                fmt::format("control address \"{}\" begins neither with unix:@ nor with tls:", address));
  }
  Tcp::socket socket(io);
  co_await socket.async_connect(parse_tls_address(address), use_awaitable);
  auto wire = std::make_unique<TlsWire>(std::move(socket),
                                        std::make_shared<PskContext>(asio::ssl::context::tls_client, secret));
  co_await wire->handshake(asio::ssl::stream_base::client);
  co_return wire;
}

}  // namespace echelon
