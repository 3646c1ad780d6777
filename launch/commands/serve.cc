#include "launch/commands/serve.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>

#include "frontend/front_end.h"
#include "kernels/base/log.h"
#include "launch/commands/banner.h"
#include "launch/commands/rank.h"
#include "launch/endpoint_file.h"
#include "launch/generated_key.h"
#include "launch/options.h"
#include "launch/server_settings.h"

namespace echelon {
namespace {

constexpr std::chrono::milliseconds kLastAnswersTimeout{10'000};

/// The front end, and what is said when it is there.
class ServeHead final : public Head {
 public:
  /// Bound before the weights are read: health says why the server is not ready yet.
  ServeHead(const ServeOptions& options, ServingEngine& engine, const Layout& layout, std::string host)
      : options_(options), engine_(engine), layout_(layout), host_(std::move(host)) {
    if (!options_.endpoint_file.empty()) endpoint_file_.emplace(options_.endpoint_file);
    if (!options_.prometheus_targets.empty()) targets_file_.emplace(options_.prometheus_targets);
    ServerOptions server = server_options(options_);
    const std::string made_key = needs_api_key(options_) ? random_api_key() : "";
    if (!made_key.empty()) server.api_keys.push_back(made_key);
    front_end_ = std::make_unique<FrontEnd>(server, engine);
    front_end_->start();
    for (const ListenAddress& address : front_end_->addresses()) log::info("http: listening on {}", to_string(address));
    if (!made_key.empty())  // named after the port, which may be known only now
      made_key_file_ = write_api_key(made_key, host_, front_end_->port(), key_folders());
  }

  void on_ready() override {
    log::print(banner(options_, engine_, layout_,
                      {.host = host_, .addresses = front_end_->addresses(), .made_key_file = made_key_file_}));
    publish();
  }

  bool reloads() const override { return has_files(options_); }
  void reload() override { front_end_->reload(); }
  void drain() override { front_end_->drain(); }

  int stop() override {
    front_end_->wait_idle(kLastAnswersTimeout);
    endpoint_file_.reset();
    targets_file_.reset();
    front_end_->stop();
    std::error_code ignored;
    if (!made_key_file_.empty()) std::filesystem::remove(made_key_file_, ignored);
    return 0;
  }

 private:
  void publish() {
    const Endpoint endpoint{.host = host_,
                            .addresses = front_end_->addresses(),
                            .has_tls = !options_.tls_cert.empty(),
                            .model = engine_.model()->name,
                            .process = ::getpid(),
                            .job_id = batch_job_id(),
                            .started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))),
                            .key_file = made_key_file_.string()};
    const auto write = [](std::optional<PublishedFile>& file, const std::string& text) {
      const std::string fault = file ? file->publish(text) : "";
      if (!fault.empty()) log::error("{}", fault);
    };
    write(endpoint_file_, endpoint_json(endpoint));
    write(targets_file_, targets_json(endpoint));
  }

  const ServeOptions& options_;
  const ServingEngine& engine_;
  const Layout& layout_;
  const std::string host_;
  std::optional<PublishedFile> endpoint_file_, targets_file_;
  std::unique_ptr<FrontEnd> front_end_;
  std::filesystem::path made_key_file_;  ///< of a key that was made for this server; empty: none was
};

}  // namespace

int serve(const std::vector<std::string>& arguments) {
  return run_command("serve", arguments, &parse_serve, &serve_help, [](const ServeOptions& options) {
    return run_job(options, [&](ServingEngine& engine, const Layout& layout, const Job& job) {
      return std::make_unique<ServeHead>(options, engine, layout, job.host_name(0));
    });
  });
}

}  // namespace echelon
