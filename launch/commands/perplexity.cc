#include "launch/commands/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <thread>

#include "engine/text/tokenizer.h"
#include "kernels/base/error.h"
#include "kernels/base/log.h"
#include "launch/commands/rank.h"
#include "launch/perplexity.h"
#include "launch/perplexity_options.h"
#include "launch/write_file.h"
#include "parallel/end_job.h"

namespace echelon {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kReportPeriod{2};

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file || text.empty()) throw Error(Part::launch, fmt::format("{}: cannot be read, or is empty", path));
  if (text.size() > kMaxEncodeBytes)
    throw Error(Part::launch, fmt::format("{}: more than {} bytes", path, kMaxEncodeBytes));
  return text;
}

/// Log-probabilities of windows as they come from the engine's thread.
class Windows {
 public:
  explicit Windows(size_t count) : logprobs_(count) {}

  void end(size_t window, std::vector<TokenLogprob> logprobs, std::string error) {
    const std::lock_guard lock(mutex_);
    for (const TokenLogprob& entry : logprobs) logprobs_[window].push_back(entry.logprob);
    if (error_.empty()) error_ = std::move(error);
    ++ended_;
    changed_.notify_all();
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }
  /// Until all but `most_open` of `begun` have ended. False when it was stopped or one has failed.
  bool wait(size_t begun, size_t most_open, const std::function<void(size_t ended)>& report) {
    std::unique_lock lock(mutex_);
    while (!stopped_ && error_.empty() && begun - ended_ > most_open) {
      changed_.wait_until(lock, next_report_);
      if (Clock::now() < next_report_) continue;
      report(ended_);
      next_report_ = Clock::now() + kReportPeriod;
    }
    return !stopped_ && error_.empty();
  }
  std::string error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  /// When all have ended.
  std::span<const float> of(size_t window) const { return logprobs_[window]; }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<float>> logprobs_;
  size_t ended_ = 0;
  Clock::time_point next_report_ = Clock::now();
  bool stopped_ = false;
  std::string error_;
};

class WindowListener final : public RequestListener {
 public:
  WindowListener(std::shared_ptr<Windows> windows, size_t window) : windows_(std::move(windows)), window_(window) {}
  void on_output(OutputEvent event) noexcept override {
    for (TokenLogprob& entry : event.prompt_logprobs) logprobs_.push_back(std::move(entry));
    if (!event.finish) return;
    const bool failed = *event.finish == FinishReason::error || *event.finish == FinishReason::abort;
    const std::string fault = event.error.empty() ? "a window was not run to its end" : event.error;
    windows_->end(window_, std::move(logprobs_), failed ? fault : "");
  }

 private:
  const std::shared_ptr<Windows> windows_;
  const size_t window_;
  std::vector<TokenLogprob> logprobs_;
};

class PerplexityHead final : public Head {
 public:
  PerplexityHead(const PerplexityOptions& options, ServingEngine& engine, const Layout& layout)
      : options_(options),
        engine_(engine),
        most_open_(most_open(options.serve, layout)),
        text_(read_text(options.text)) {}
  ~PerplexityHead() override { stop(); }

  void on_ready() override {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    worker_ = std::thread([this] {
      try {
        finished_ = run();
      } catch (const std::exception& error) {
        end_job(error.what());
      }
      engine_.drain();
    });
  }
  bool reloads() const override { return false; }
  void reload() override {}
  void drain() override {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    if (windows_ != nullptr) windows_->stop();
  }
  int stop() override {
    drain();
    if (worker_.joinable()) worker_.join();
    return finished_ ? 0 : 1;
  }

 private:
  bool run() {
    const auto model = engine_.model();
    const Tokenizer& tokenizer = *model->tokenizer;
    const auto size = static_cast<size_t>(options_.window);
    if (options_.window + 1 > model->max_model_len)
      throw Error(Part::launch, fmt::format("--window {} and a token more are beyond the model's {}", options_.window,
                                            model->max_model_len));
    const std::optional<TokenId> bos = tokenizer.adds_bos() ? tokenizer.bos_id() : std::nullopt;
    std::vector<TokenId> tokens = tokenizer.encode(text_, {.parse_special = false, .add_special = false});
    if (bos) tokens.insert(tokens.begin(), *bos);
    const auto all = windows_of(tokens, size, bos);
    if (all.empty())
      throw Error(Part::launch,
                  fmt::format("{}: {} tokens are less than a --window of {}", options_.text, tokens.size(), size));
    auto windows = std::make_shared<Windows>(all.size());
    {
      const std::lock_guard lock(mutex_);
      windows_ = windows;
      if (stopped_) return false;
    }
    const auto begin = Clock::now();
    const auto report = [&](size_t ended) {
      fmt::print(stderr, "echelon perplexity: {} of {} windows\n", ended, all.size());
    };
    for (size_t i = 0; i < all.size(); ++i) {
      if (!windows->wait(i, most_open_ - 1, report)) return failed(*windows);
      Request request;
      request.id = fmt::format("window-{}", i);
      request.prompt = all[i];
      request.sampling.temperature = 0;
      request.sampling.max_tokens = 1;
      request.sampling.num_prompt_logprobs = 0;
      const auto handle = engine_.submit(std::move(request), std::make_shared<WindowListener>(windows, i));
      if (handle.has_error()) throw Error(Part::launch, handle.error().message);
    }
    if (!windows->wait(all.size(), 0, report)) return failed(*windows);
    print(all, *windows, tokenizer, std::chrono::duration<double>(Clock::now() - begin).count());
    return true;
  }

  /// As many as run, and as many that wait, so that there is always a next one.
  static size_t most_open(const ServeOptions& options, const Layout& layout) {
    const int running = options.max_num_seqs * layout.sizes().dp;
    return static_cast<size_t>(running + std::min(running, options.max_queue));
  }

  static bool failed(const Windows& windows) {
    if (!windows.error().empty()) throw Error(Part::launch, windows.error());
    return false;
  }

  void print(const std::vector<std::vector<TokenId>>& all, const Windows& windows, const Tokenizer& tokenizer,
             double seconds) const {
    PerplexitySum sum;
    for (size_t i = 0; i < all.size(); ++i) {
      const size_t first = first_counted(all[i].size());
      int64_t num_bytes = 0;
      for (size_t k = first; k < all[i].size(); ++k)
        num_bytes += static_cast<int64_t>(tokenizer.token_bytes(all[i][k]).size());
      sum.add(windows.of(i).subspan(first - 1), num_bytes);  // entry k is of token k + 1
    }
    fmt::print("perplexity {:.4f} +- {:.4f}, {:.4f} bits per byte: {} tokens in {} windows of {}, {:.0f} tokens/s\n",
               sum.perplexity(), sum.perplexity_error(), sum.bits_per_byte(), sum.num_tokens(), all.size(),
               options_.window, static_cast<double>(all.size() * all[0].size()) / seconds);
    if (options_.json.empty()) return;
    const boost::json::object json{{"model", engine_.model()->name},
                                   {"text", options_.text},
                                   {"window", options_.window},
                                   {"windows", all.size()},
                                   {"tokens", sum.num_tokens()},
                                   {"perplexity", sum.perplexity()},
                                   {"error", sum.perplexity_error()},
                                   {"bits_per_byte", sum.bits_per_byte()},
                                   {"seconds", seconds}};
    write_file(options_.json, boost::json::serialize(json) + "\n");
  }

  const PerplexityOptions& options_;
  ServingEngine& engine_;
  const size_t most_open_;
  const std::string text_;
  std::mutex mutex_;                  ///< guards the two below
  std::shared_ptr<Windows> windows_;  ///< owners: this and the listeners
  bool stopped_ = false;
  std::thread worker_;
  std::atomic<bool> finished_{false};
};

}  // namespace

int perplexity(const std::vector<std::string>& arguments) {
  return run_command("perplexity", arguments, &parse_perplexity, &perplexity_help,
                     [](const PerplexityOptions& options) {
                       return run_job(options.serve, [&](ServingEngine& engine, const Layout& layout, const Job&) {
                         return std::make_unique<PerplexityHead>(options, engine, layout);
                       });
                     });
}

}  // namespace echelon
