// Wires the parts in the order in which they need each other: counters, keys, log, endpoints, server.
// Destruction runs the other way round, so that no session outlives what it uses.
#include "frontend/front_end.h"

#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

/// What is kept of the options for long holds no key in clear.
ServerOptions without_keys(ServerOptions options) {
  options.api_keys.clear();
  return options;
}

}  // namespace

FrontEnd::FrontEnd(const ServerOptions& options, Engine& engine)
    : keys_(options.api_keys, options.api_key_file),
      log_(options.request_log.empty() ? nullptr : std::make_unique<RequestLog>(options.request_log)),
      batches_(options.batch_dir.empty() ? nullptr
                                         : std::make_unique<BatchService>(without_keys(options), engine, log_.get())),
      journal_(options.journal_dir.empty() ? nullptr
                                           : std::make_unique<Journal>(options.journal_dir, options.journal_keep)),
      api_(without_keys(options), keys_, log_.get(), engine, metrics_),
      server_(without_keys(options), api_, metrics_) {
  api_.set_text_pool(server_.text_pool());
  if (batches_) api_.set_batches(*batches_);
  if (journal_) api_.set_journal(*journal_);
}

void FrontEnd::start() {
  server_.start();
  if (batches_) batches_->start();
}

void FrontEnd::stop() {
  if (batches_) batches_->drain();
  server_.stop();  // sessions wait for the batches' thread
  if (batches_) batches_->stop();
}

void FrontEnd::drain() {
  api_.drain();
  if (batches_) batches_->drain();
  server_.drain();
}

void FrontEnd::reload() {
  const auto attempt = [](const char* otherwise, const auto& read) {
    try {
      read();
    } catch (const Error& fault) {
      log::error("{}; {}", fault.what(), otherwise);
    }
  };
  attempt("the keys of before still count", [this] { keys_.reload(); });
  attempt("new connections get the certificate of before", [this] { server_.reload_tls(); });
  if (log_) attempt("the file that is open goes on", [this] { log_->reopen(); });
}

}  // namespace echelon
