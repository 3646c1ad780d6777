// A POST whose answer comes bit by bit, on a connection that is there: what http_post() and the loads of `bench` share.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "launch/client/http_client.h"

namespace echelon {

struct PostEnd {
  std::string refusal;  ///< what the server says, where the status is not 200
  bool keeps = false;   ///< the connection can be used again
};

/// on_begin: the server has answered. on_bytes: of a body with status 200. `timeout`: the longest time without any.
/// Throws boost::system::system_error, and what the functions throw.
boost::asio::awaitable<PostEnd> exchange_post(boost::beast::tcp_stream& stream, const ServerAddress& server,
                                              std::string path, const std::string& api_key, std::string json,
                                              bool keep_alive, std::chrono::milliseconds timeout,
                                              std::function<void()> on_begin,
                                              std::function<void(std::string_view)> on_bytes);

}  // namespace echelon
