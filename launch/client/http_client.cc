#include "launch/client/http_client.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/url/parse.hpp>
#include <charconv>
#include <csignal>
#include <exception>
#include <optional>

#include "kernels/base/error.h"
#include "launch/client/http_exchange.h"

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

asio::awaitable<void> connect(beast::tcp_stream& stream, const ServerAddress& server,
                              std::chrono::milliseconds timeout) {
  tcp::resolver resolver(stream.get_executor());
  const auto addresses = co_await resolver.async_resolve(server.host, server.port, asio::use_awaitable);
  stream.expires_after(timeout);
  co_await stream.async_connect(addresses, asio::use_awaitable);
}

template <typename Request>
void set_fields(Request& request, const ServerAddress& server, const std::string& api_key, bool keep_alive) {
  request.set(http::field::host, server.authority);
  request.set(http::field::user_agent, "echelon");
  request.keep_alive(keep_alive);
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
}

asio::awaitable<std::string> get(const ServerAddress& server, std::string path, std::string api_key,
                                 std::chrono::milliseconds timeout) {
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  co_await connect(stream, server, timeout);
  http::request<http::empty_body> request(http::verb::get, server.path + path, 11);
  set_fields(request, server, api_key, false);
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

/// What the body of a refusal says, or its status.
std::string refusal_in(const std::string& body, unsigned status) {
  boost::system::error_code fault;
  const boost::json::value value = boost::json::parse(body, fault);
  if (!fault) {
    const boost::json::value* message = value.find_pointer("/error/message", fault);
    if (message != nullptr && message->is_string()) return std::string(message->get_string());
  }
  return fmt::format("status {}", status);
}

asio::awaitable<void> post(const ServerAddress& server, std::string path, std::string api_key, std::string json,
                           std::chrono::milliseconds timeout, const std::function<void(std::string_view)>& on_bytes) {
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  co_await connect(stream, server, timeout);
  const PostEnd end = co_await exchange_post(
      stream, server, path, api_key, std::move(json), false, timeout, [] {}, on_bytes);
  if (!end.refusal.empty()) throw std::runtime_error(end.refusal);
}

std::string cause_of(std::exception_ptr error, const std::string& on_timeout) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code() == beast::error::timeout ? on_timeout : e.code().message();
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

asio::awaitable<PostEnd> exchange_post(beast::tcp_stream& stream, const ServerAddress& server, std::string path,
                                       const std::string& api_key, std::string json, bool keep_alive,
                                       std::chrono::milliseconds timeout, std::function<void()> on_begin,
                                       std::function<void(std::string_view)> on_bytes) {
  http::request<http::string_body> request(http::verb::post, server.path + path, 11, std::move(json));
  set_fields(request, server, api_key, keep_alive);
  request.set(http::field::content_type, "application/json");
  request.prepare_payload();
  stream.expires_after(timeout);
  co_await http::async_write(stream, request, asio::use_awaitable);
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(kMaxBodyBytes);
  parser.header_limit(kMaxHeaderBytes);
  beast::flat_buffer buffer;
  co_await http::async_read_header(stream, buffer, parser, asio::use_awaitable);
  on_begin();
  const unsigned status = parser.get().result_int();
  std::string refusal;
  std::array<char, 8192> part;
  while (!parser.is_done()) {
    parser.get().body().data = part.data();
    parser.get().body().size = part.size();
    stream.expires_after(timeout);
    const auto [error, ignored] =
        co_await http::async_read_some(stream, buffer, parser, asio::as_tuple(asio::use_awaitable));
    if (error && error != http::error::need_buffer) throw boost::system::system_error(error);
    const std::string_view bytes(part.data(), part.size() - parser.get().body().size);
    if (status == 200) {
      on_bytes(bytes);
    } else {
      refusal += bytes;
    }
  }
  co_return PostEnd{.refusal = status == 200 ? "" : refusal_in(refusal, status), .keeps = parser.get().keep_alive()};
}

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
    if (error) {
      cause = cause_of(error, cause);
    } else {
      body = std::move(text);
    }
  });
  io.run_for(2 * timeout);  // looking up a name has no deadline of its own
  if (!body) throw Error(Part::launch, fmt::format("{}, {}: {}", server.text, path, cause));
  return std::move(*body);
}

bool http_post(const ServerAddress& server, const std::string& path, const std::string& api_key, std::string json,
               std::chrono::milliseconds timeout, const std::function<void(std::string_view)>& on_bytes) {
  asio::io_context io(1);
  asio::signal_set interrupts(io, SIGINT);
  bool interrupted = false;
  std::optional<std::string> cause;
  interrupts.async_wait([&](const boost::system::error_code& error, int) {
    interrupted = !error;
    if (interrupted) io.stop();
  });
  const std::string late = fmt::format("nothing came for {} ms", timeout.count());
  asio::co_spawn(io, post(server, path, api_key, std::move(json), timeout, on_bytes), [&](std::exception_ptr error) {
    if (error) cause = cause_of(error, late);
    interrupts.cancel();
  });
  io.run();
  if (cause) throw Error(Part::launch, fmt::format("{}, {}: {}", server.text, path, *cause));
  return !interrupted;
}

}  // namespace echelon
