// Option by option; and when a server without a key is an accident rather than a wish.
#include "launch/server_settings.h"

#include <algorithm>

#include "frontend/http/listener.h"

namespace echelon {
namespace {

constexpr size_t kBodiesAtOnce = 8;  ///< of the longest
/// A batch's sequences slow every step that a user's are in. On CPUs an eighth already gives batches most of their
/// speed.
constexpr int kBatchShare = 8;

}  // namespace

ServerOptions server_options(const ServeOptions& options) {
  ServerOptions server;
  server.host = options.host;
  server.port = static_cast<uint16_t>(options.port);
  server.last_port = static_cast<uint16_t>(options.last_port);
  server.listen = options.listen;
  server.tls_certificate = options.tls_cert;
  server.tls_key = options.tls_key;
  server.api_keys = options.api_keys;
  server.api_key_file = options.api_key_file;
  server.request_log = options.request_log;
  server.request_log_text = options.request_log_text;
  server.allowed_origins = options.cors_origins;
  server.max_connections = static_cast<size_t>(options.max_connections);
  server.connections_per_address = static_cast<size_t>(options.max_connections_per_address);
  server.body_bytes = static_cast<size_t>(options.max_body_bytes);
  server.total_body_bytes = std::max(server.total_body_bytes, kBodiesAtOnce * server.body_bytes);
  server.header_timeout = std::chrono::seconds(options.header_timeout_s);
  server.body_timeout = std::chrono::seconds(options.body_timeout_s);
  server.idle_timeout = std::chrono::seconds(options.idle_timeout_s);
  server.write_timeout = std::chrono::seconds(options.write_timeout_s);
  server.limit_requests_per_min = options.limit_requests_per_min;
  server.limit_tokens_per_min = options.limit_tokens_per_min;
  server.batch_dir = options.batch_dir;
  server.journal_dir = options.journal_dir;
  server.journal_keep = std::chrono::seconds(options.journal_keep_s);
  server.batch_disk_bytes = options.batch_disk_bytes;
  server.batch_running =
      options.batch_running > 0 ? options.batch_running : std::max(1, options.max_num_seqs / kBatchShare);
  server.prefix_cache_per_key = options.prefix_cache_per_key;
  return server;
}

bool needs_api_key(const ServeOptions& options) {
  if (!options.require_api_key || !options.api_keys.empty() || !options.api_key_file.empty()) return false;
  const std::vector<ListenAddress> addresses = listen_addresses(server_options(options));
  return !std::all_of(addresses.begin(), addresses.end(), is_local);
}

}  // namespace echelon
