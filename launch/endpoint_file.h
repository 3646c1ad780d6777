// Where a server is, in files for programs: JSON for clients and scripts, and Prometheus' format of targets.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "frontend/http/listen_address.h"
#include "launch/client/http_client.h"

namespace echelon {

struct Endpoint {
  std::string host;                      ///< of rank 0
  std::vector<ListenAddress> addresses;  ///< with bound ports
  bool has_tls = false;
  std::string model;
  int process = 0;
  std::string job_id;    ///< of the batch system; empty: none
  std::string started;   ///< RFC 3339, UTC
  std::string key_file;  ///< of a key that was made for this server; empty: none was
};

/// `address` with the name of its host in place of "every interface".
ListenAddress reachable(ListenAddress address, const std::string& host);

/// {"url", "urls", "host", "port", "model", "pid", "job_id", "started", "api_key_file"}; null for what there is not.
std::string endpoint_json(const Endpoint& endpoint);
/// For file_sd_configs: one group of targets, with the labels model and, in a batch system, job_id. None of a
/// Unix-domain socket.
std::string targets_json(const Endpoint& endpoint);

/// The number that Slurm, PBS, LSF or Grid Engine gave the job this process is in; empty: none did.
std::string batch_job_id();

/// What a client is told: a URL, or the path of an endpoint file. Throws Error(Part::launch) naming both and the fault.
ServerAddress server_at(const std::string& url_or_file);

/// A file that others wait for: it is there in full or not at all.
class PublishedFile {
 public:
  /// What a server before left there goes. Throws Error(Part::launch) where no file can be written.
  explicit PublishedFile(std::filesystem::path path);
  /// Takes the file away, unless another server has put its own there.
  ~PublishedFile();
  PublishedFile(const PublishedFile&) = delete;
  PublishedFile& operator=(const PublishedFile&) = delete;

  /// Empty, or why it could not be written.
  std::string publish(const std::string& text);

 private:
  std::filesystem::path path_;
  std::string text_;  ///< as published
};

}  // namespace echelon
