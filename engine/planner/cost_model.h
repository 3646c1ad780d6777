// How long one stage of the pipeline takes for one micro-batch: a roofline. Pure functions over sizes from the model's
// headers and the ceilings of a device; plain data, safe from any thread.
//
//   time = sum over layers' products, LM head, attention of max(bytes / bandwidth, operations / rate) + links + latency
//
// The ceilings are what a device reaches at best, so a time is a lower bound; validated on CPUs in
// benchmarks/README.md.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/engine_metrics.h"
#include "engine/engine_options.h"
#include "engine/model/rank_memory.h"
#include "engine/model/traffic.h"
#include "engine/planner/device_table.h"

namespace echelon {

/// Rows of `count` sequences that look alike: each runs num_rows tokens from first_position on.
struct RowGroup {
  int count = 1;
  int64_t num_rows = 1;
  int64_t first_position = 0;
  bool sampled = true;  ///< the logits of its last row are wanted
};

/// What one rank has to do for a micro-batch, from the headers of its model.
struct StageProfile {
  ModelSpec spec;
  Shard shard;
  uint64_t layer_bytes = 0;             ///< weights, read once a micro-batch
  uint64_t head_bytes = 0;              ///< LM head, read once for kLogitRows rows
  std::array<int64_t, 3> layer_macs{};  ///< multiply-adds with weights of one row, by Compute
  std::array<int64_t, 3> head_macs{};   ///< of one row whose logits are wanted
  double kv_token_bytes = 0;            ///< keys and values of a token in one layer
};

/// Pure; a few nanoseconds for each row group.
StageWork stage_work(const StageProfile& profile, std::span<const RowGroup> rows);

StageProfile stage_profile(const ModelFiles& model, const Shard& shard, const Backend& backend,
                           const EngineOptions& options);

/// Where the ranks lie that this one exchanges with, and how many of its host compute at the same time, itself
/// included.
struct Surroundings {
  bool parts_on_one_host = true, previous_on_host = true;
  double busy_on_host = 1;
};

enum class Resource { memory, compute, link, latency };
std::string_view to_string(Resource resource);

/// Seconds.
struct StageCost {
  double memory = 0, compute = 0, link = 0, latency = 0;
  double overlapped = 0;  ///< of memory and compute, what goes on at the same time
  double total() const { return memory + compute - overlapped + link + latency; }
  Resource bound() const;  ///< the part of total() that is largest
};

StageCost stage_cost(const StageProfile& profile, std::span<const RowGroup> rows, const Device& device,
                     const Surroundings& around);

/// Bytes that this rank receives from others for a micro-batch: from the parts of its stage, and from the stage before.
struct StageTraffic {
  Traffic parts, border;
};
StageTraffic stage_traffic(const StageProfile& profile, std::span<const RowGroup> rows);

}  // namespace echelon
