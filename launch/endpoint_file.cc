// A reader never sees half of a file: it is written under another name of the same folder and renamed.
#include "launch/endpoint_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr uintmax_t kMaxFileBytes = 1 << 20;

json::value text_or_null(const std::string& text) { return text.empty() ? json::value() : json::value(text); }

std::string url_of(const ListenAddress& address, bool has_tls) {
  return address.is_unix() ? to_string(address)
                           : fmt::format("{}://{}", has_tls ? "https" : "http", to_string(address));
}

std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

ListenAddress reachable(ListenAddress address, const std::string& host) {
  if (address.host == "0.0.0.0" || address.host == "::") address.host = host;
  return address;
}

std::string endpoint_json(const Endpoint& endpoint) {
  json::array urls;
  json::value port;
  for (const ListenAddress& address : endpoint.addresses) {
    urls.emplace_back(url_of(reachable(address, endpoint.host), endpoint.has_tls));
    if (port.is_null() && !address.is_unix()) port = address.port;
  }
  const json::object all{{"url", urls.at(0)},
                         {"urls", urls},
                         {"host", endpoint.host},
                         {"port", port},
                         {"model", endpoint.model},
                         {"pid", endpoint.process},
                         {"job_id", text_or_null(endpoint.job_id)},
                         {"started", endpoint.started},
                         {"api_key_file", text_or_null(endpoint.key_file)}};
  return json::serialize(all) + "\n";
}

std::string targets_json(const Endpoint& endpoint) {
  json::array targets;
  for (const ListenAddress& address : endpoint.addresses) {
    if (!address.is_unix()) targets.emplace_back(to_string(reachable(address, endpoint.host)));
  }
  json::object labels{{"model", endpoint.model}};
  if (!endpoint.job_id.empty()) labels["job_id"] = endpoint.job_id;
  if (endpoint.has_tls) labels["__scheme__"] = "https";
  return json::serialize(json::array{json::object{{"targets", targets}, {"labels", labels}}}) + "\n";
}

std::string batch_job_id() {
  for (const char* name : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"}) {
    if (const char* id = std::getenv(name); id != nullptr && *id != '\0') return id;
  }
  return "";
}

ServerAddress server_at(const std::string& url_or_file) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(url_or_file, none)) return parse_server(url_or_file);
  const auto fail = [&](const std::string& why) {
    throw Error(Part::launch,
                fmt::format("{}: {}; an endpoint file is what serve --endpoint-file writes", url_or_file, why));
  };
  if (std::filesystem::file_size(url_or_file, none) > kMaxFileBytes) fail("is too large");
  boost::system::error_code fault;
  const json::value value = json::parse(read_whole(url_or_file), fault);
  if (fault) fail("is no JSON");
  const json::value* urls = value.find_pointer("/urls", fault);
  if (urls == nullptr || !urls->is_array()) fail("has no list \"urls\"");
  for (const json::value& url : urls->get_array()) {
    if (url.is_string() && url.get_string().starts_with("http")) return parse_server(std::string(url.get_string()));
  }
  fail("names no address of http");
  return {};
}

PublishedFile::PublishedFile(std::filesystem::path path) : path_(std::move(path)) {
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  if (::access(folder.c_str(), W_OK | X_OK) != 0)
    throw Error(Part::launch,
                fmt::format("{}: cannot write in {}: {}", path_.string(), folder.string(), std::strerror(errno)));
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
    throw Error(Part::launch, fmt::format("{}: cannot be replaced: {}", path_.string(), std::strerror(errno)));
}

PublishedFile::~PublishedFile() {
  if (!text_.empty() && read_whole(path_) == text_) ::unlink(path_.c_str());
}

std::string PublishedFile::publish(const std::string& text) {
  const std::string unfinished = fmt::format("{}.{}.part", path_.string(), ::getpid());
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file && ::rename(unfinished.c_str(), path_.c_str()) == 0) {
    text_ = text;
    return "";
  }
  const std::string reason = std::strerror(errno);
  ::unlink(unfinished.c_str());
  return fmt::format("{}: cannot be written: {}", path_.string(), reason);
}

}  // namespace echelon
