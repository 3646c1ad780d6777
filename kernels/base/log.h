// Logging for every folder: spdlog's default logger, with the rank in the pattern. Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

namespace echelon::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

/// Sets pattern, level ("trace", "debug", "info", "warn", "error", "off") and where lines go: to stderr, or at the end
/// of `file`, and then to stderr as well on rank 0 alone. Throws Error(Part::launch) for an unknown level, or a file
/// that cannot be written.
void set_up(int rank, const std::string& level, const std::string& file = {});

/// Text as it stands, to stderr and to the file of set_up(), whatever the rank and the level. Takes no lock: for a
/// process that is ending, too.
void print(std::string_view text);

}  // namespace echelon::log
