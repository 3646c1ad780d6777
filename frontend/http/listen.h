// From the words of the options to what a listener binds.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

namespace echelon {

/// The first address of a name. Throws Error(Part::frontend) naming the host and the cause.
boost::asio::ip::tcp::endpoint resolve_listen(const std::string& host, uint16_t port);

}  // namespace echelon
