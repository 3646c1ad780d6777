// One address that a server listens on, TCP or a Unix-domain socket; connections of both are sockets of one type.
#pragma once

#include <sys/types.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <string>

#include "frontend/http/listen_address.h"

namespace echelon {

using StreamSocket = boost::asio::generic::stream_protocol::socket;

/// Does `address` take connections from this host alone? Resolves names; throws as Listener.
bool is_local(const ListenAddress& address);

/// Who is at the other end: an address, or "unix". Empty when the connection has gone.
std::string peer_text(const StreamSocket& socket);

/// What stands for who is at the other end when connections are counted: an IPv4 address, or the /64 network of an IPv6
/// one, all of whose addresses one host may have. Empty: a Unix-domain socket, or the connection has gone.
std::string peer_network(const StreamSocket& socket);

/// Owns the file of a Unix-domain socket.
class Listener {
 public:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::generic::stream_protocol>;

  /// Binds and listens. The file of a Unix-domain socket is for its owner alone (0600). One that nobody listens on is
  /// replaced; one that somebody does, and a file that is no socket, are errors. Throws Error(Part::frontend) naming
  /// the address and the cause.
  Listener(boost::asio::any_io_executor executor, ListenAddress address);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  Acceptor& acceptor() { return acceptor_; }
  /// With the bound port.
  const ListenAddress& address() const { return address_; }
  /// On the executor: nothing is accepted any more, and the socket's file goes, if it is still this one.
  void close();

 private:
  void listen_tcp();
  void bind_unix();

  Acceptor acceptor_;
  ListenAddress address_;
  dev_t device_ = 0;  ///< with file_: the socket's file, as it was made
  ino_t file_ = 0;
};

}  // namespace echelon
