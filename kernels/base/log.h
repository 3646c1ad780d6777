// Logging for every folder: spdlog's default logger, with the rank in the pattern. Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace echelon::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

/// Sets pattern, level ("trace", "debug", "info", "warn", "error", "off") and stderr as the sink.
/// Throws Error(Part::launch) for an unknown level.
void set_up(int rank, const std::string& level);

}  // namespace echelon::log
