// The bar redraws its line with a carriage return; without a terminal whole lines are printed, seldom.
// A thread that finds another one printing goes on: advance() never waits for the terminal.
#include "engine/weights/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>

namespace echelon {
namespace {

constexpr int kBarWidth = 24;
constexpr double kMega = 1e6;

double fraction(uint64_t done_bytes, uint64_t total_bytes) {
  if (total_bytes == 0) return 1.0;
  return std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
}

std::string rate(uint64_t done_bytes, double seconds) {
  if (seconds <= 0) return "-";
  return fmt::format("{:.0f} MB/s", static_cast<double>(done_bytes) / kMega / seconds);
}

}  // namespace

std::string format_progress_bar(std::string_view label, uint64_t done_bytes, uint64_t total_bytes, double seconds) {
  const double part = fraction(done_bytes, total_bytes);
  const auto filled = static_cast<size_t>(part * kBarWidth);
  return fmt::format("{}  [{}{}] {:3} %  {:.1f} of {:.1f} MB  {}", label, std::string(filled, '#'),
                     std::string(kBarWidth - filled, '-'), static_cast<int>(part * 100),
                     static_cast<double>(done_bytes) / kMega, static_cast<double>(total_bytes) / kMega,
                     rate(done_bytes, seconds));
}

std::string format_progress_line(std::string_view label, uint64_t done_bytes, uint64_t total_bytes, double seconds) {
  return fmt::format("{}: {} % of {:.1f} MB read, {}", label, static_cast<int>(fraction(done_bytes, total_bytes) * 100),
                     static_cast<double>(total_bytes) / kMega, rate(done_bytes, seconds));
}

ProgressOutput ProgressOutput::standard_error() {
  return {.is_terminal = ::isatty(STDERR_FILENO) == 1,
          .write =
              [](std::string_view text) {
                std::fwrite(text.data(), 1, text.size(), stderr);
                std::fflush(stderr);
              },
          .now = [] { return std::chrono::steady_clock::now(); }};
}

ProgressBar::ProgressBar(std::string label, uint64_t total_bytes, ProgressOutput output)
    : label_(std::move(label)),
      total_bytes_(total_bytes),
      output_(std::move(output)),
      start_(output_.now()),
      next_print_(start_ + (output_.is_terminal ? kBarInterval : kLineInterval)),
      num_exceptions_(std::uncaught_exceptions()) {}

ProgressBar::~ProgressBar() {
  if (std::uncaught_exceptions() == num_exceptions_) finish();
}

void ProgressBar::advance(uint64_t num_bytes) {
  done_bytes_.fetch_add(num_bytes, std::memory_order_relaxed);
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || finished_) return;
  const auto time = output_.now();
  if (time >= next_print_) print(time, false);
}

void ProgressBar::finish() {
  const std::lock_guard lock(mutex_);
  if (finished_) return;
  finished_ = true;
  print(output_.now(), true);
}

void ProgressBar::print(std::chrono::steady_clock::time_point time, bool last) {
  const double seconds = std::chrono::duration<double>(time - start_).count();
  const uint64_t done = done_bytes();
  if (output_.is_terminal) {
    constexpr std::string_view kEraseToEnd = "\x1b[K";
    output_.write(fmt::format("\r{}{}{}", format_progress_bar(label_, done, total_bytes_, seconds), kEraseToEnd,
                              last ? "\n" : ""));
  } else {
    output_.write(format_progress_line(label_, done, total_bytes_, seconds) + "\n");
  }
  next_print_ = time + (output_.is_terminal ? kBarInterval : kLineInterval);
}

}  // namespace echelon
