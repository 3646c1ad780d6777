#include "kernels/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include "kernels/base/error.h"

namespace echelon::log {

void set_up(int rank, const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    throw Error(Part::launch, "--log-level '" + level + "' is not one of trace, debug, info, warn, error, off");
  }
  auto logger = std::make_shared<spdlog::logger>("echelon", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  logger->set_pattern("%H:%M:%S.%e [" + std::to_string(rank) + "] %^%l%$ %v");
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace echelon::log
