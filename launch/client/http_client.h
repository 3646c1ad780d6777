// One HTTP/1.1 request at a time over plain TCP: what `echelon top` and `echelon chat` ask a server with.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace echelon {

struct ServerAddress {
  std::string host;  ///< name or address; IPv6 without brackets
  std::string port;
  std::string path;       ///< in front of /metrics, without a slash at its end
  std::string text;       ///< as the user wrote it
  std::string authority;  ///< of the Host header
};

/// "http://HOST:PORT", also without the scheme, and with the path of an API (/v1) or of /metrics at its end, which is
/// left out. Throws Error(Part::launch) for https, user names, queries and what is no URL.
ServerAddress parse_server(const std::string& url);

/// The body. `api_key` is sent as a bearer token unless it is empty. Throws Error(Part::launch) when there is no answer
/// with status 200 and at most 64 MiB within the time; it names address, path and cause.
std::string http_get(const ServerAddress& server, const std::string& path, const std::string& api_key,
                     std::chrono::milliseconds timeout);

/// Sends JSON and hands over the bytes of the answer's body as they come. `timeout`: the longest time without any.
/// False when SIGINT came first: the connection is closed then, and the server stops working. Throws
/// Error(Part::launch) with address, path and cause, or with what the server says where the status is not 200.
bool http_post(const ServerAddress& server, const std::string& path, const std::string& api_key, std::string json,
               std::chrono::milliseconds timeout, const std::function<void(std::string_view)>& on_bytes);

}  // namespace echelon
