// Binding. Names are resolved here, at start, with nothing else running.
#include "frontend/http/listener.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstring>

#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using Local = asio::local::stream_protocol;
using Generic = asio::generic::stream_protocol;

constexpr int kListenBacklog = 1024;
constexpr mode_t kSocketMode = 0600;

[[noreturn]] void fail(const ListenAddress& address, const std::string& cause) {
  throw Error(Part::frontend, fmt::format("cannot listen on {}: {}; choose another {}", to_string(address), cause,
                                          address.is_unix() ? "--listen" : "--host or --port, or --listen"));
}

tcp::endpoint resolve(const ListenAddress& address) {
  asio::io_context io;
  tcp::resolver resolver(io);
  boost::system::error_code error;
  const auto found = resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
  if (error) fail(address, error.message());
  return found.begin()->endpoint();
}

/// Removes a socket's file that nobody listens on. What is there for another reason is left, and said.
void remove_stale(const ListenAddress& address) {
  struct stat status {};
  if (::lstat(address.unix_path.c_str(), &status) != 0) return;  // nothing there, or bind says why not
  if (!S_ISSOCK(status.st_mode)) fail(address, "there is a file of this name, and it is no socket");
  asio::io_context io;
  Local::socket socket(io);
  boost::system::error_code error;
  socket.connect(Local::endpoint(address.unix_path), error);
  if (!error) fail(address, "a server listens there");
  if (error != asio::error::connection_refused) fail(address, error.message());
  if (::unlink(address.unix_path.c_str()) != 0) fail(address, std::strerror(errno));
}

/// Of an endpoint that is one of TCP.
tcp::endpoint tcp_endpoint(const Generic::endpoint& any) {
  tcp::endpoint endpoint;
  if (any.size() > endpoint.capacity()) return endpoint;
  std::memcpy(endpoint.data(), any.data(), any.size());
  endpoint.resize(any.size());
  return endpoint;
}

}  // namespace

bool is_local(const ListenAddress& address) { return address.is_unix() || resolve(address).address().is_loopback(); }

std::string peer_text(const StreamSocket& socket) {
  boost::system::error_code error;
  const Generic::endpoint peer = socket.remote_endpoint(error);
  if (error) return "";
  return peer.protocol().family() == AF_UNIX ? "unix" : tcp_endpoint(peer).address().to_string();
}

std::string peer_network(const StreamSocket& socket) {
  constexpr size_t kNetworkBytes = 8;
  boost::system::error_code error;
  const Generic::endpoint peer = socket.remote_endpoint(error);
  if (error || peer.protocol().family() == AF_UNIX) return "";
  const asio::ip::address address = tcp_endpoint(peer).address();
  if (address.is_v4()) return address.to_string();
  if (address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  const auto bytes = address.to_v6().to_bytes();
  return std::string(bytes.begin(), bytes.begin() + kNetworkBytes);
}

Listener::Listener(asio::any_io_executor executor, ListenAddress address)
    : acceptor_(std::move(executor)), address_(std::move(address)) {
  if (address_.is_unix()) remove_stale(address_);
  try {
    if (address_.is_unix()) {
      bind_unix();
      acceptor_.listen(kListenBacklog);
    } else {
      listen_tcp();
    }
  } catch (const boost::system::system_error& fault) {
    close();
    fail(address_, fault.code().message());
  }
}

Listener::~Listener() { close(); }

void Listener::listen_tcp() {
  tcp::endpoint endpoint = resolve(address_);
  const unsigned last = std::max(address_.port, address_.last_port);
  boost::system::error_code error;
  for (unsigned port = address_.port; port <= last; ++port) {
    endpoint.port(static_cast<uint16_t>(port));
    acceptor_.open(endpoint.protocol());
    acceptor_.set_option(asio::socket_base::reuse_address(true));
    if (endpoint.address().is_v6() && endpoint.address().is_unspecified())
      acceptor_.set_option(asio::ip::v6_only(false));
    acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(kListenBacklog, error);
    if (!error) break;
    acceptor_.close();
    if (error != asio::error::address_in_use) break;
  }
  if (error) throw boost::system::system_error(error);
  address_.port = tcp_endpoint(acceptor_.local_endpoint()).port();
  address_.last_port = 0;
}

void Listener::bind_unix() {
  acceptor_.open(Local());
  // The file takes the mode that the socket has when it is bound (less the umask): it is never open to others, not even
  // for a moment, and no thread's umask changes.
  ::fchmod(acceptor_.native_handle(), kSocketMode);
  acceptor_.bind(Local::endpoint(address_.unix_path));
  struct stat status {};
  if (::lstat(address_.unix_path.c_str(), &status) != 0) return;
  device_ = status.st_dev;
  file_ = status.st_ino;
}

void Listener::close() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  struct stat status {};
  if (file_ == 0 || ::lstat(address_.unix_path.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == file_) ::unlink(address_.unix_path.c_str());
  file_ = 0;
}

}  // namespace echelon
