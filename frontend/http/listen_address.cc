// The texts of --listen. A port is always there: a default would hide a forgotten one.
#include "frontend/http/listen_address.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <charconv>
#include <stdexcept>

#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

}  // namespace

ListenAddress parse_listen_address(std::string_view text) {
  if (text.starts_with(kUnix)) {
    const std::string path(text.substr(kUnix.size()));
    if (path.empty()) fail("unix: needs the path of a socket");
    if (path.size() > kMaxPath)
      fail(fmt::format("the path of a Unix-domain socket has at most {} characters", kMaxPath));
    return {.unix_path = path};
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) fail("is neither unix:PATH nor HOST:PORT");
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool in_brackets = host.front() == '[' && host.back() == ']' && host.size() > 2;
  if (!in_brackets && host.find_first_of(":[]") != std::string_view::npos)
    fail("an IPv6 address is written [ADDRESS]:PORT");
  ListenAddress address{.host = std::string(in_brackets ? host.substr(1, host.size() - 2) : host)};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size()) fail("its port is no number of 0 to 65535");
  return address;
}

std::string to_string(const ListenAddress& address) {
  if (address.is_unix()) return fmt::format("unix:{}", address.unix_path);
  const bool is_v6 = address.host.find(':') != std::string::npos;
  const std::string port =
      address.last_port == 0 ? fmt::format("{}", address.port) : fmt::format("{}-{}", address.port, address.last_port);
  return is_v6 ? fmt::format("[{}]:{}", address.host, port) : fmt::format("{}:{}", address.host, port);
}

std::vector<ListenAddress> listen_addresses(const ServerOptions& options) {
  if (options.listen.empty()) return {{.host = options.host, .port = options.port, .last_port = options.last_port}};
  std::vector<ListenAddress> addresses;
  for (const std::string& text : options.listen) {
    try {
      addresses.push_back(parse_listen_address(text));
    } catch (const std::invalid_argument& fault) {
      throw Error(Part::frontend, fmt::format("--listen {}: {}", text, fault.what()));
    }
  }
  return addresses;
}

}  // namespace echelon
