// What /metrics shows: the engine's snapshot and the HTTP counters, under vLLM's names where vLLM has the metric, and
// echelon_* for the rest.
#pragma once

#include <string>
#include <string_view>

#include "engine/engine_metrics.h"
#include "frontend/metrics/batch_metrics.h"
#include "frontend/metrics/http_metrics.h"
#include "frontend/metrics/journal_metrics.h"

namespace echelon {

/// `model_name` is empty while the model's metadata is being read.
/// `batches` and `journal` are null where there are none.
std::string metrics_text(const EngineMetrics& engine, const HttpMetrics& http, std::string_view model_name,
                         const BatchMetrics* batches = nullptr, const JournalMetrics* journal = nullptr);

}  // namespace echelon
