#include "launch/top/http_get.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url/parse.hpp>
#include <charconv>
#include <exception>
#include <optional>

#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;

constexpr uint64_t kMaxBodyBytes = uint64_t{64} << 20;
constexpr uint32_t kMaxHeaderBytes = 64 << 10;
constexpr auto kPathsLeftOut = {"/metrics", "/v1"};

[[noreturn]] void refuse(const std::string& url, const std::string& why) {
  throw Error(Part::launch, fmt::format("{}: {}; such as http://127.0.0.1:8000", url, why));
}

bool is_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port > 0;
}

asio::awaitable<std::string> get(const ServerAddress& server, std::string path, std::string api_key,
                                 std::chrono::milliseconds timeout) {
  const auto executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  const auto addresses = co_await resolver.async_resolve(server.host, server.port, asio::use_awaitable);
  beast::tcp_stream stream(executor);
  stream.expires_after(timeout);
  co_await stream.async_connect(addresses, asio::use_awaitable);
  http::request<http::empty_body> request(http::verb::get, server.path + path, 11);
  request.set(http::field::host, server.authority);
  request.set(http::field::user_agent, "echelon-top");
  request.set(http::field::connection, "close");
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  co_await http::async_write(stream, request, asio::use_awaitable);
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxBodyBytes);
  parser.header_limit(kMaxHeaderBytes);
  beast::flat_buffer buffer;
  co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
  const unsigned status = parser.get().result_int();
  if (status != 200) throw std::runtime_error(fmt::format("status {}", status));
  co_return std::move(parser.get().body());
}

}  // namespace

ServerAddress parse_server(const std::string& url) {
  const std::string whole = url.find("://") == std::string::npos ? "http://" + url : url;
  const auto parsed = boost::urls::parse_uri(whole);
  if (!parsed) refuse(url, "is no URL");
  if (parsed->scheme() == "https") refuse(url, "https is not supported: forward the server's port, ssh -L");
  if (parsed->scheme() != "http") refuse(url, "is not of http");
  if (parsed->has_userinfo() || parsed->has_query() || parsed->has_fragment())
    refuse(url, "has more than host, port and path");
  ServerAddress server{.host = parsed->host_address(),
                       .port = parsed->has_port() ? std::string(parsed->port()) : "80",
                       .path = std::string(parsed->encoded_path()),
                       .text = url,
                       .authority = std::string(parsed->encoded_host_and_port())};
  if (server.host.empty() || !is_port(server.port)) refuse(url, "has no host and port");
  const auto cut_slashes = [&] {
    while (server.path.ends_with('/')) server.path.pop_back();
  };
  cut_slashes();
  for (const std::string_view end : kPathsLeftOut) {
    if (server.path.ends_with(end)) server.path.resize(server.path.size() - end.size());
    cut_slashes();
  }
  return server;
}

std::string http_get(const ServerAddress& server, const std::string& path, const std::string& api_key,
                     std::chrono::milliseconds timeout) {
  asio::io_context io(1);
  std::optional<std::string> body;
  std::string cause = fmt::format("no answer within {} ms", timeout.count());
  asio::co_spawn(io, get(server, path, api_key, timeout), [&](std::exception_ptr error, std::string text) {
    if (!error) {
      body = std::move(text);
      return;
    }
    try {
      std::rethrow_exception(error);
    } catch (const boost::system::system_error& e) {
      if (e.code() != beast::error::timeout) cause = e.code().message();
    } catch (const std::exception& e) {
      cause = e.what();
    }
  });
  io.run_for(2 * timeout);  // looking up a name has no deadline of its own
  if (!body) throw Error(Part::launch, fmt::format("{}, {}: {}", server.text, path, cause));
  return std::move(*body);
}

}  // namespace echelon
