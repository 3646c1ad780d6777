// Where to listen, keys, and what they may do. What is kept from others never stands in a row's value: --print-config
// masks it.
#include "launch/access_rows.h"

#include <fmt/ranges.h>

#include <stdexcept>

#include "frontend/http/listen_address.h"

namespace echelon {
namespace {

constexpr size_t kMaxApiKeys = 1024;
constexpr size_t kMaxListeners = 64;
constexpr size_t kMaxOrigins = 64;
constexpr int64_t kMaxPerMinute = 1'000'000'000'000;
constexpr int64_t kMaxConnections = 1'000'000;
constexpr int64_t kMinBodyBytes = 1 << 10, kMaxBodyBytes = 1 << 30;
constexpr int kMaxTimeout = 86400;

std::string quoted_list(const std::vector<std::string>& texts) {
  std::vector<std::string> out;
  for (const std::string& text : texts) out.push_back(quoted(text));
  return fmt::format("[{}]", fmt::join(out, ", "));
}

OptionRow api_key_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "api-key",
                            .value_name = "KEY",
                            .help = "a key that clients must send; repeatable; in a variable, separated by commas. "
                                    "Other users of the host can read flags: prefer ECHELON_API_KEY or a file"},
                           OptionShape::list);
  row.set = [&options](std::span<const std::string> values) {
    if (values.size() > kMaxApiKeys) throw BadValue(fmt::format("more than {} keys", kMaxApiKeys));
    for (const std::string& value : values) {
      check_text(value);
      if (value.find(' ') != std::string::npos) throw BadValue("holds a space");
    }
    options.api_keys.assign(values.begin(), values.end());
  };
  row.get = [&options] {
    return fmt::format("[{}]", fmt::join(std::vector<std::string>(options.api_keys.size(), "\"***\""), ", "));
  };
  return row;
}

OptionRow listen_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "listen",
                            .value_name = "ADDRESS",
                            .help = "unix:PATH (a socket for its owner alone) or HOST:PORT, in place of --host and "
                                    "--port; repeatable"},
                           OptionShape::list);
  row.set = [&options](std::span<const std::string> values) {
    if (values.size() > kMaxListeners) throw BadValue(fmt::format("more than {} addresses", kMaxListeners));
    for (const std::string& value : values) {
      check_text(value);
      try {
        parse_listen_address(value);
      } catch (const std::invalid_argument& fault) {
        throw BadValue(fmt::format("'{}': {}", value, fault.what()));
      }
    }
    options.listen.assign(values.begin(), values.end());
  };
  row.get = [&options] { return quoted_list(options.listen); };
  return row;
}

/// As a browser sends it in Origin: a scheme and a host, no path.
void check_origin(const std::string& text) {
  check_text(text);
  if (text == "*") return;
  const size_t host = text.find("://");
  const bool has_scheme = host != std::string::npos && host > 0 && host + 3 < text.size();
  if (!has_scheme || text.find_first_of("/ ,\"*", host + 3) != std::string::npos)
    throw BadValue(fmt::format("'{}' is neither * nor SCHEME://HOST or SCHEME://HOST:PORT, without a path", text));
}

OptionRow cors_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "cors-origin",
                            .value_name = "ORIGIN",
                            .help = "web pages from here, as https://chat.site.org, may ask the server from a browser; "
                                    "*: from anywhere; repeatable"},
                           OptionShape::list);
  row.set = [&options](std::span<const std::string> values) {
    if (values.size() > kMaxOrigins) throw BadValue(fmt::format("more than {} origins", kMaxOrigins));
    for (const std::string& value : values) check_origin(value);
    options.cors_origins.assign(values.begin(), values.end());
  };
  row.get = [&options] { return quoted_list(options.cors_origins); };
  return row;
}

}  // namespace

std::vector<OptionRow> access_rows(ServeOptions& options) {
  return {
      listen_row(options),
      text({.name = "tls-cert",
            .value_name = "FILE",
            .help = "https: the server's certificate and those it hangs from, in PEM; SIGHUP: read again"},
           options.tls_cert),
      text({.name = "tls-key", .value_name = "FILE", .help = "the key of --tls-cert in PEM, not for everybody"},
           options.tls_key),
      api_key_row(options),
      text({.name = "api-key-file",
            .value_name = "FILE",
            .help =
                "keys, one a line: NAME:KEY or NAME:sha256:HEX; for its owner alone (mode 0600); SIGHUP: read again"},
           options.api_key_file),
      boolean(
          {.name = "require-api-key",
           .value_name = "",
           .help = "make a key when other hosts can reach the server and none is given; --no-api-key: serve anybody",
           .aliases = {"no-api-key"}},
          options.require_api_key),
      integer({.name = "limit-requests-per-min",
               .value_name = "N",
               .help = "requests that a key (all clients, without keys) may send in a minute; requests=N behind a key "
                       "in its file: that key; 0: any"},
              options.limit_requests_per_min, {0, kMaxPerMinute}),
      integer({.name = "limit-tokens-per-min",
               .value_name = "N",
               .help = "likewise tokens of prompts and answers; tokens=N in the file; 0: any"},
              options.limit_tokens_per_min, {0, kMaxPerMinute}),
      integer({.name = "max-connections",
               .value_name = "N",
               .help = "connections at once; the next is told 503; open files (ulimit -n) may allow fewer"},
              options.max_connections, {1, kMaxConnections}),
      integer({.name = "max-connections-per-address",
               .value_name = "N",
               .help = "those of one address (IPv6: of a /64 network); the next is told 429; 0, any: when all clients "
                       "come through a proxy"},
              options.max_connections_per_address, {0, kMaxConnections}),
      bytes({.name = "max-body", .value_name = "BYTES", .help = "of a request, uploads of files excepted; more: 413"},
            options.max_body_bytes, {kMinBodyBytes, kMaxBodyBytes}),
      integer(
          {.name = "header-timeout-s",
           .value_name = "N",
           .help = "seconds from the first byte of a request to the end of its header; then its connection is closed"},
          options.header_timeout_s, {1, kMaxTimeout}),
      integer({.name = "body-timeout-s", .value_name = "N", .help = "likewise for its body, and more for a long one"},
              options.body_timeout_s, {1, kMaxTimeout}),
      integer(
          {.name = "idle-timeout-s", .value_name = "N", .help = "seconds that a connection may rest between requests"},
          options.idle_timeout_s, {1, kMaxTimeout}),
      integer({.name = "write-timeout-s",
               .value_name = "N",
               .help = "seconds in which a client takes nothing of what is written; then its connection is closed"},
              options.write_timeout_s, {1, kMaxTimeout}),
      cors_row(options),
      text(
          {.name = "request-log",
           .value_name = "FILE",
           .help = "appends a line of JSON for each request: who, what, tokens, times; no texts; SIGHUP: opened again"},
          options.request_log),
      boolean(
          {.name = "request-log-text",
           .value_name = "",
           .help = "bodies of requests and answers stand in --request-log, too: what users wrote, for whoever reads "
                   "the file"},
          options.request_log_text),
  };
}

}  // namespace echelon
