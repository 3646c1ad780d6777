// The socket under a control connection: a Unix socket in the abstract namespace (nothing is left on disk) while all
// ranks are on one host, TLS 1.3 over TCP with a key from the job's secret when the channel leaves the host.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/control/secret.h"

namespace echelon {

/// One connection. All calls on the io_context's thread; errors are boost::system::system_error.
class Wire {
 public:
  virtual ~Wire() = default;
  virtual boost::asio::awaitable<size_t> read_some(boost::asio::mutable_buffer into) = 0;
  virtual boost::asio::awaitable<void> write(boost::asio::const_buffer bytes) = 0;
  /// No more bytes from this side; what was written still arrives.
  virtual void end_writing() = 0;
  virtual void close() = 0;
};

class WireListener {
 public:
  virtual ~WireListener() = default;
  /// What workers pass to connect_wire().
  virtual std::string address() const = 0;
  /// The next connection, encrypted where it has to be only after secure() (so that one slow stranger stops nobody).
  virtual boost::asio::awaitable<std::unique_ptr<Wire>> accept() = 0;
  virtual boost::asio::awaitable<void> secure(Wire& wire) = 0;
  virtual void close() = 0;
};

/// A Unix socket with a random name.
std::unique_ptr<WireListener> listen_on_host(boost::asio::io_context& io);
/// TLS on a free port of `ip_address`. Throws Error(Part::parallel) that names the address.
std::unique_ptr<WireListener> listen_on_network(boost::asio::io_context& io, const std::string& ip_address,
                                                const JobSecret& secret);

/// One try. `address` comes from WireListener::address(); throws Error(Part::parallel) when it is not of that form.
boost::asio::awaitable<std::unique_ptr<Wire>> connect_wire(boost::asio::io_context& io, const std::string& address,
                                                           const JobSecret& secret);

struct NetworkInterface {
  std::string name, ip_address;
  bool is_loopback = false;
};
/// Addresses of interfaces that are up: IPv4 first.
std::vector<NetworkInterface> list_interfaces();
/// `wanted` is an interface's name, its address or a network it is in (10.1.0.0/16); empty: the first not loopback. Throws Error(Part::parallel)
/// listing what is there.
std::string choose_ip_address(const std::string& wanted);

}  // namespace echelon
