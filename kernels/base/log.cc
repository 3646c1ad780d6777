#include "kernels/base/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "kernels/base/error.h"

namespace echelon::log {
namespace {

std::atomic<int> file_descriptor{-1};  ///< stays open: others may be writing

}  // namespace

void set_up(int rank, const std::string& level, const std::string& file) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    throw Error(Part::launch, "--log-level '" + level + "' is not one of trace, debug, info, warn, error, off");
  }
  std::vector<spdlog::sink_ptr> sinks;
  if (!file.empty()) {
    const int opened = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opened < 0) throw Error(Part::launch, fmt::format("{}: cannot be written: {}", file, std::strerror(errno)));
    file_descriptor = opened;
    sinks.push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(file));
    sinks.back()->set_pattern(fmt::format("%Y-%m-%d %H:%M:%S.%e [{}] %l %v", rank));
  }
  if (file.empty() || rank == 0) {
    sinks.push_back(std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    sinks.back()->set_pattern(fmt::format("%H:%M:%S.%e [{}] %^%l%$ %v", rank));
  }
  auto logger = std::make_shared<spdlog::logger>("echelon", sinks.begin(), sinks.end());
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void print(std::string_view text) {
  [[maybe_unused]] ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  if (const int file = file_descriptor; file >= 0) ignored = ::write(file, text.data(), text.size());
}

}  // namespace echelon::log
