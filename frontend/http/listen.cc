// Names are resolved here, at start, with nothing else running.
#include "frontend/http/listen.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>

#include "kernels/base/error.h"

namespace echelon {

boost::asio::ip::tcp::endpoint resolve_listen(const std::string& host, uint16_t port) {
  using tcp = boost::asio::ip::tcp;
  boost::asio::io_context io;
  tcp::resolver resolver(io);
  boost::system::error_code error;
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error)
    throw Error(Part::frontend, fmt::format("cannot listen on {}:{}: {}; choose another --host or --port", host, port,
                                            error.message()));
  return found.begin()->endpoint();
}

}  // namespace echelon
