#include "launch/commands/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "frontend/batch/offline.h"
#include "kernels/base/log.h"
#include "launch/batch_options.h"
#include "launch/commands/rank.h"
#include "launch/server_settings.h"
#include "parallel/end_job.h"

namespace echelon {
namespace {

constexpr std::chrono::milliseconds kReportPeriod{2'000};

double per_second(int64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

void print_progress(const OfflineProgress& now) {
  fmt::print(stderr, "echelon batch: {} of {} answered, {} failed, {:.0f} tokens/s in, {:.0f} out\n", now.done,
             now.total, now.failed, per_second(now.prompt_tokens, now.seconds),
             per_second(now.completion_tokens, now.seconds));
}

class BatchHead final : public Head {
 public:
  /// The files are looked at before the weights are read.
  BatchHead(const BatchOptions& options, ServingEngine& engine, const Layout& layout)
      : options_(options),
        engine_(engine),
        max_choices_(most_choices(options.serve, layout)),
        file_(options.input, options.output) {}

  void on_ready() override {
    const auto ended = [this](std::exception_ptr fault) {
      if (fault != nullptr) {
        try {
          std::rethrow_exception(fault);
        } catch (const std::exception& error) {
          end_job(error.what());
        }
      }
      engine_.drain();
    };
    file_.start(engine_, server_options(options_.serve), max_choices_, kReportPeriod, print_progress, ended);
  }

  bool reloads() const override { return false; }
  void reload() override {}
  void drain() override { file_.stop(); }

  int stop() override {
    file_.stop();
    const OfflineProgress end = file_.progress();
    fmt::print(stderr,
               "echelon batch: {} of {} answered, {} failed; {} of them in {:.1f} s: {} tokens in, {} out, {:.0f} "
               "tokens/s in, {:.0f} out\n",
               end.done, end.total, end.failed, end.answered_now, end.seconds, end.prompt_tokens, end.completion_tokens,
               per_second(end.prompt_tokens, end.seconds), per_second(end.completion_tokens, end.seconds));
    return end.done == end.total ? 0 : 1;
  }

 private:
  /// As many as run, and as many that wait, so that there is always a next one.
  static int most_choices(const ServeOptions& options, const Layout& layout) {
    const int running = options.max_num_seqs * layout.sizes().dp;
    return running + std::min(running, options.max_queue);
  }

  const BatchOptions& options_;
  ServingEngine& engine_;
  const int max_choices_;
  OfflineBatch file_;
};

}  // namespace

int batch(const std::vector<std::string>& arguments) {
  return run_command("batch", arguments, &parse_batch, &batch_help, [](const BatchOptions& options) {
    return run_job(options.serve, [&](ServingEngine& engine, const Layout& layout, const Job&) {
      return std::make_unique<BatchHead>(options, engine, layout);
    });
  });
}

}  // namespace echelon
