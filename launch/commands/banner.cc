// Every address gets its URL and its way in from elsewhere; the first one a line for curl.
#include "launch/commands/banner.h"

#include <fmt/format.h>
#include <unistd.h>

#include "kernels/base/limits.h"
#include "launch/endpoint_file.h"

namespace echelon {
namespace {

constexpr int kUsualPort = 8000;  ///< at the near end of a tunnel to a Unix-domain socket

std::string mebibytes(uint64_t bytes) { return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / (1 << 20)); }

/// How a shell writes the field with a key, or nothing when none is asked for.
std::string key_field(const ServeOptions& options, const ServedAt& at) {
  if (!at.made_key_file.empty())
    return fmt::format(" -H \"Authorization: Bearer $(cat {})\"", at.made_key_file.string());
  return options.api_keys.empty() && options.api_key_file.empty() ? "" : " -H \"Authorization: Bearer $KEY\"";
}

std::string address_lines(const ListenAddress& address, const std::string& scheme, const std::string& host) {
  if (address.is_unix())
    return fmt::format("  unix:{0}\n  from elsewhere: ssh -L {1}:{0} {2}, then http://127.0.0.1:{1}/v1\n",
                       address.unix_path, kUsualPort, host);
  return fmt::format("  {3}://{0}/v1\n  from elsewhere: ssh -L {1}:{0} {2}\n", to_string(address), address.port, host,
                     scheme);
}

std::string curl_line(const ListenAddress& address, const std::string& scheme, const std::string& key_field,
                      const std::string& model) {
  const std::string server = address.is_unix() ? fmt::format("--unix-socket {} http://localhost", address.unix_path)
                                               : fmt::format("{}://{}", scheme, to_string(address));
  return fmt::format(
      "  curl {}/v1/chat/completions -H 'Content-Type: application/json'{} -d '{{\"model\": \"{}\", \"messages\": "
      "[{{\"role\": \"user\", \"content\": \"Hello\"}}], \"stream\": true}}'\n",
      server, key_field, model);
}

}  // namespace

bool has_files(const ServeOptions& options) {
  return !options.api_key_file.empty() || !options.tls_cert.empty() || !options.request_log.empty();
}

std::string banner(const ServeOptions& options, const Engine& engine, const Layout& layout, const ServedAt& at) {
  const auto model = engine.model();
  const EngineMetrics metrics = engine.metrics();
  std::string text = fmt::format("echelon serves {} ({}), {}\n", model->name, model->family, layout.describe());
  for (const RankMetrics& rank : metrics.ranks) {
    text += fmt::format(
        "  rank {:<3} {}  stage {} part {} replica {}: weights {}, KV cache {}, activations {}, loaded in {:.2f} s\n",
        rank.rank, rank.host, rank.pp, rank.tp, rank.dp, mebibytes(rank.weight_bytes), mebibytes(rank.kv_bytes),
        mebibytes(rank.activation_bytes), rank.load_seconds);
  }
  text += fmt::format("  KV cache: {} tokens, {} per sequence at most\n", metrics.kv_blocks_total * kBlockTokens,
                      model->max_model_len);
  const std::string scheme = options.tls_cert.empty() ? "http" : "https";
  for (const ListenAddress& address : at.addresses) text += address_lines(reachable(address, at.host), scheme, at.host);
  text += curl_line(reachable(at.addresses.front(), at.host), scheme, key_field(options, at), model->name);
  if (!at.made_key_file.empty())
    text += fmt::format("  API key: in {}, for you alone; --api-key-file takes your own\n", at.made_key_file.string());
  if (has_files(options)) text += fmt::format("  kill -HUP {} on {}: reads its files again\n", ::getpid(), at.host);
  return text;
}

}  // namespace echelon
