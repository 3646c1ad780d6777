// Which address of this host the control channel binds to.
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>

#include "kernels/base/error.h"
#include "parallel/control/wire.h"

namespace echelon {

std::vector<NetworkInterface> list_interfaces() {
  constexpr int kMaxAddresses = 1024;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) throw Error(Part::parallel, "cannot list this host's network interfaces");
  std::vector<NetworkInterface> v4, v6;
  int num_seen = 0;
  for (const ifaddrs* entry = first; entry != nullptr && num_seen < kMaxAddresses;
       entry = entry->ifa_next, ++num_seen) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    char text[NI_MAXHOST];
    const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (getnameinfo(entry->ifa_addr, size, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) continue;
    (family == AF_INET ? v4 : v6).push_back({entry->ifa_name, text, (entry->ifa_flags & IFF_LOOPBACK) != 0});
  }
  freeifaddrs(first);
  v4.insert(v4.end(), v6.begin(), v6.end());
  return v4;
}

namespace {

/// `network` as "10.1.0.0/16" or "fd00::/8". False for anything else.
bool lies_in(const std::string& ip_address, const std::string& network) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(ip_address, error);
  if (error) return false;
  if (address.is_v4()) {
    const auto v4 = boost::asio::ip::make_network_v4(network, error);
    if (error) return false;
    return boost::asio::ip::network_v4(address.to_v4(), v4.prefix_length()).canonical() == v4.canonical();
  }
  const auto v6 = boost::asio::ip::make_network_v6(network, error);
  if (error) return false;
  return boost::asio::ip::network_v6(address.to_v6(), v6.prefix_length()).canonical() == v6.canonical();
}

}  // namespace

std::string choose_ip_address(const std::string& wanted) {
  const std::vector<NetworkInterface> all = list_interfaces();
  const auto found = std::find_if(all.begin(), all.end(), [&](const NetworkInterface& one) {
    if (wanted.empty()) return !one.is_loopback;
    return one.name == wanted || one.ip_address == wanted || lies_in(one.ip_address, wanted);
  });
  if (found != all.end()) return found->ip_address;
  std::string there;
  for (const NetworkInterface& one : all) there += fmt::format(" {} ({})", one.name, one.ip_address);
  throw Error(Part::parallel, wanted.empty()
                                  ? fmt::format("no network interface but loopback is up; there are{}", there)
                                  : fmt::format("no network interface \"{}\" is up; there are{}", wanted, there));
}

}  // namespace echelon
