#include "engine/planner/cost_model.h"

#include <algorithm>

#include "engine/model/layer_runner.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr double kOperationsOfMac = 2;

/// The arithmetic that products with weights of this coding use: matrices of floats stay floats under int8.
Compute arithmetic_of(const Coding& coding, Compute compute) {
  return compute == Compute::int8 && coding.kind == Coding::Kind::floats ? Compute::bf16 : compute;
}

/// What a sequence's rows see of the KV cache in one layer.
struct Keys {
  double pairs = 0;         ///< of a row and a key
  double decode_pairs = 0;  ///< of them, those of sequences that run one row
  double distinct = 0;      ///< keys that are read
};

Keys keys_of(const RowGroup& group, int window) {
  const auto rows = static_cast<double>(group.num_rows), first = static_cast<double>(group.first_position);
  const double end = first + rows;
  if (window == 0 || end <= window) return {.pairs = rows * (first + (rows + 1) / 2), .distinct = end};
  // Rows before position `window` see all keys before them, later ones `window` of them.
  const double growing = std::clamp(window - first, 0.0, rows);
  return {.pairs = growing * (first + (growing + 1) / 2) + (rows - growing) * window,
          .distinct = std::min(end, window + rows - 1)};
}

Keys keys_of_all_layers(const StageProfile& profile, std::span<const RowGroup> rows) {
  Keys total, of_layer;
  int window = -1;  // of the layer before: neighbours are mostly alike
  for (int64_t layer = profile.shard.layers.first; layer < profile.shard.layers.end(); ++layer) {
    const LayerSpec& spec = profile.spec.layers[static_cast<size_t>(layer)];
    if (spec.window != window) {
      window = spec.window;
      of_layer = {};
      for (const RowGroup& group : rows) {
        const Keys keys = keys_of(group, window);
        of_layer.pairs += group.count * keys.pairs;
        if (group.num_rows == 1) of_layer.decode_pairs += group.count * keys.pairs;
        of_layer.distinct += group.count * keys.distinct;
      }
    }
    total.pairs += of_layer.pairs;
    total.decode_pairs += of_layer.decode_pairs;
    total.distinct += of_layer.distinct;
  }
  return total;
}

/// What is left for one rank of those that compute on its host.
double shared(double of_rank, double of_host, double busy_on_host) {
  return of_host > 0 ? std::min(of_rank, of_host / busy_on_host) : of_rank;
}

double seconds_on(const Traffic& traffic, const LinkRate& link) {
  if (traffic.num_exchanges == 0) return 0;
  return traffic.num_exchanges * link.latency_s + static_cast<double>(traffic.bytes) / link.bytes_per_s;
}

int64_t num_rows(std::span<const RowGroup> rows) {
  int64_t total = 0;
  for (const RowGroup& group : rows) total += group.count * group.num_rows;
  return total;
}

int64_t num_sampled(std::span<const RowGroup> rows) {
  int64_t total = 0;
  for (const RowGroup& group : rows) total += group.sampled ? group.count : 0;
  return total;
}

double num_decodes(std::span<const RowGroup> rows) {
  double total = 0;
  for (const RowGroup& group : rows) total += group.num_rows == 1 ? group.count : 0;
  return total;
}

/// How often the LM head is read.
double head_reads(std::span<const RowGroup> rows) {
  return static_cast<double>((num_sampled(rows) + kLogitRows - 1) / kLogitRows);
}

/// Of one query head's row and key, and their value, times the heads.
double operations_of_pair(const StageProfile& profile) {
  return kOperationsOfMac * 2 * static_cast<double>(profile.shard.heads.count) * profile.spec.head_dim;
}

}  // namespace

StageProfile stage_profile(const ModelFiles& model, const Shard& shard, const Backend& backend,
                           const EngineOptions& options) {
  StageProfile profile{.spec = model.spec, .shard = shard};
  for (const KeptMatrix& matrix : stage_matrices(model, shard)) {
    const Coding coding = model.weights->matrix(matrix.name, matrix.all_rows, matrix.all_cols)->coding();
    const auto kind = static_cast<size_t>(arithmetic_of(coding, options.compute));
    (matrix.is_head ? profile.head_macs : profile.layer_macs)[kind] += matrix.rows * matrix.cols;
    if (matrix.is_head) profile.head_bytes += backend.packed_bytes(coding, matrix.rows, matrix.cols);
  }
  const RankMemory memory = rank_memory(model, shard, backend, options);
  profile.layer_bytes = memory.weights - profile.head_bytes;
  if (shard.layers.count > 0) {
    profile.kv_token_bytes =
        static_cast<double>(memory.kv_block) / static_cast<double>(kBlockTokens * shard.layers.count);
  }
  return profile;
}

std::string_view to_string(Resource resource) {
  switch (resource) {
    case Resource::memory:
      return "memory";
    case Resource::compute:
      return "compute";
    case Resource::link:
      return "link";
    case Resource::latency:
      return "latency";
  }
  return "?";
}

Resource StageCost::bound() const {
  if (latency > std::max({memory, compute, link})) return Resource::latency;
  if (link > std::max(memory, compute)) return Resource::link;
  return memory >= compute ? Resource::memory : Resource::compute;
}

StageTraffic stage_traffic(const StageProfile& profile, std::span<const RowGroup> rows) {
  const Shard& shard = profile.shard;
  const int64_t count = num_rows(rows);
  StageTraffic traffic{.parts = logits_traffic(profile.spec, shard, num_sampled(rows)),
                       .border = border_traffic(profile.spec, shard, count)};
  for (const ReductionTree* tree : {&shard.attention_tree, &shard.mlp_tree}) {
    const Traffic sum = sum_traffic(*tree, shard.place.tp, count, profile.spec.hidden);
    traffic.parts.bytes += shard.layers.count * sum.bytes;
    traffic.parts.num_exchanges += static_cast<int>(shard.layers.count) * sum.num_exchanges;
  }
  return traffic;
}

StageWork stage_work(const StageProfile& profile, std::span<const RowGroup> rows) {
  const auto count = static_cast<double>(num_rows(rows)), sampled = static_cast<double>(num_sampled(rows));
  const Keys keys = keys_of_all_layers(profile, rows);
  StageWork work;
  work.bytes = static_cast<double>(profile.layer_bytes) + head_reads(rows) * static_cast<double>(profile.head_bytes) +
               keys.distinct * profile.kv_token_bytes;
  for (size_t kind = 0; kind < profile.layer_macs.size(); ++kind) {
    work.operations[kind] = kOperationsOfMac * (count * static_cast<double>(profile.layer_macs[kind]) +
                                                sampled * static_cast<double>(profile.head_macs[kind]));
  }
  work.operations.back() = keys.pairs * operations_of_pair(profile);
  return work;
}

StageCost stage_cost(const StageProfile& profile, std::span<const RowGroup> rows, const Device& device,
                     const Surroundings& around) {
  const auto count = static_cast<double>(num_rows(rows)), sampled = static_cast<double>(num_sampled(rows));
  const double bandwidth = shared(device.rank.bytes_per_s, device.host.bytes_per_s, around.busy_on_host);
  StageCost cost;
  const auto add_phase = [&](double bytes, double compute) {
    const double memory = bytes / bandwidth;
    cost.memory += memory;
    cost.compute += compute;
    cost.overlapped += std::min(memory, compute);
  };
  const auto product_seconds = [&](const std::array<int64_t, 3>& macs, double num_rows, double at_a_time) {
    double seconds = 0;
    for (size_t kind = 0; kind < macs.size(); ++kind) {
      if (num_rows == 0 || macs[kind] == 0) continue;
      seconds += kOperationsOfMac * num_rows * static_cast<double>(macs[kind]) /
                 shared(device.rank.products[kind].at(at_a_time), device.host.products[kind].at(at_a_time),
                        around.busy_on_host);
    }
    return seconds;
  };
  add_phase(static_cast<double>(profile.layer_bytes), product_seconds(profile.layer_macs, count, count));
  add_phase(head_reads(rows) * static_cast<double>(profile.head_bytes),
            product_seconds(profile.head_macs, sampled, std::min<double>(sampled, kLogitRows)));
  const Keys keys = keys_of_all_layers(profile, rows);
  const double prompts = shared(device.rank.attention, device.host.attention, around.busy_on_host);
  const double decodes = shared(device.rank.decode_attention, device.host.decode_attention, around.busy_on_host);
  add_phase(keys.distinct * profile.kv_token_bytes,
            ((keys.pairs - keys.decode_pairs) / prompts + keys.decode_pairs / decodes) * operations_of_pair(profile));

  const auto row_seconds = [&](double num_rows, double of_rank, double of_host) {
    return of_rank > 0 ? num_rows / shared(of_rank, of_host, around.busy_on_host) : 0;
  };
  const double decode_rows = num_decodes(rows);
  cost.compute += static_cast<double>(profile.shard.layers.count) *
                  (row_seconds(count - decode_rows, device.rank.prompt_rows_per_s, device.host.prompt_rows_per_s) +
                   row_seconds(decode_rows, device.rank.decode_rows_per_s, device.host.decode_rows_per_s));

  const StageTraffic traffic = stage_traffic(profile, rows);
  cost.link = seconds_on(traffic.parts, around.parts_on_one_host ? device.within_host : device.between_hosts) +
              seconds_on(traffic.border, around.previous_on_host ? device.within_host : device.between_hosts);
  cost.latency = static_cast<double>(profile.shard.layers.count) * device.layer_latency_s + device.batch_latency_s;
  return cost;
}

}  // namespace echelon
