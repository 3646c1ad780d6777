// Where a server listens, as an option says it. Plain data; nothing is resolved here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/http/options.h"

namespace echelon {

/// Either a path or a host and a port.
struct ListenAddress {
  std::string unix_path;   ///< of a Unix-domain socket; empty: TCP
  std::string host;        ///< name or address, without brackets
  uint16_t port = 0;       ///< 0: any free one
  uint16_t last_port = 0;  ///< the first free one from port to this; 0: port alone

  bool is_unix() const { return !unix_path.empty(); }
};

/// "unix:PATH", "HOST:PORT" or "[IPV6]:PORT". Throws std::invalid_argument that says what would be right.
ListenAddress parse_listen_address(std::string_view text);

/// As parse_listen_address() takes it, but for a range of ports.
std::string to_string(const ListenAddress& address);

/// ServerOptions::listen, or host and port when that is empty. Throws Error(Part::frontend).
std::vector<ListenAddress> listen_addresses(const ServerOptions& options);

}  // namespace echelon
