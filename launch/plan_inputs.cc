#include "launch/plan_inputs.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/host_memory.h"
#include "engine/planner/host_ceiling.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "launch/engine_settings.h"

namespace echelon {
namespace {

/// The device of the options, with the figures that the user gave in place of its own.
Device device_of(const PlanOptions& options, const EngineOptions& settings, const ModelSpec& spec, int ranks_per_host) {
  Device device;
  if (const Device* known = find_device(options.device)) {
    device = *known;
  } else {
    device = measure_host({.isa = settings.isa,
                           .threads_per_rank = settings.num_threads,
                           .ranks_per_host = ranks_per_host,
                           .layer = {.hidden = spec.hidden,
                                     .intermediate = spec.intermediate,
                                     .num_heads = spec.num_heads,
                                     .num_kv_heads = spec.num_kv_heads,
                                     .head_dim = spec.head_dim}});
  }
  const auto given = [&](int64_t value, const char* flag) {
    if (value > 0) device.source += fmt::format("; {} given", flag);
    return value > 0;
  };
  if (given(options.memory_bandwidth, "--memory-bandwidth")) {
    device.rank.bytes_per_s = static_cast<double>(options.memory_bandwidth);
    device.host.bytes_per_s = 0;
  }
  if (given(options.flops, "--flops")) {
    const auto rate = static_cast<double>(options.flops);
    device.rank.products = {rate, rate, rate};
    device.rank.attention = device.rank.decode_attention = rate;
    device.host.products = {};
    device.host.attention = device.host.decode_attention = 0;
  }
  if (given(options.network_bandwidth, "--network-bandwidth"))
    device.between_hosts.bytes_per_s = static_cast<double>(options.network_bandwidth);
  return device;
}

int num_ranks(const PlanOptions& options) {
  if (options.ranks > 0) return options.ranks;
  int64_t product = 1;
  for (const int size :
       {options.serve.tensor_parallel_size, options.serve.pipeline_parallel_size, options.serve.data_parallel_size})
    product *= std::max(size, 1);
  if (product > kMaxRanks) throw Error(Part::launch, fmt::format("{} ranks; 1 to {} are possible", product, kMaxRanks));
  return static_cast<int>(product);
}

int ranks_per_host(const PlanOptions& options, int num_ranks) {
  if (options.ranks_per_host > 0) return std::min(options.ranks_per_host, num_ranks);
  const Device* known = find_device(options.device);
  return std::min(known == nullptr ? num_ranks : known->ranks_per_host, num_ranks);
}

RankHosts hosts_of(const PlanOptions& options, const Device& device, int num_ranks, int per_host) {
  RankHosts hosts{.host_of_rank = {}, .rank_bytes = {}, .kv_share = device.kv_share};
  uint64_t rank_bytes = static_cast<uint64_t>(options.memory);
  if (rank_bytes == 0) rank_bytes = device.memory_bytes;
  if (rank_bytes == 0) rank_bytes = available_host_bytes() / static_cast<uint64_t>(per_host);
  for (int rank = 0; rank < num_ranks; ++rank) {
    hosts.host_of_rank.push_back(rank / per_host);
    hosts.rank_bytes.push_back(rank_bytes);
  }
  return hosts;
}

void check_load(const Load& load, int64_t longest) {
  if (load.sequence_tokens() <= longest) return;
  throw Error(Part::launch,
              fmt::format("--prompt {} and --output {} are {} tokens, more than one sequence may have: {}",
                          load.prompt_tokens, load.output_tokens, load.sequence_tokens(), longest));
}

}  // namespace

PlanInputs plan_inputs(const PlanOptions& options) {
  const int ranks = num_ranks(options), per_host = ranks_per_host(options, ranks);
  EngineOptions settings = engine_options(options.serve, per_host);
  OpenModel model = open_model(settings.model);
  const Load load{.prompt_tokens = options.prompt,
                  .output_tokens = options.output,
                  .concurrency = options.concurrency > 0 ? options.concurrency : settings.max_num_seqs};
  check_load(load, max_sequence_tokens(settings, model.files.spec));
  const LayoutSizes wanted{.dp = options.serve.data_parallel_size,
                           .tp = options.serve.tensor_parallel_size,
                           .pp = options.serve.pipeline_parallel_size};
  possible_layouts(wanted, ranks);  // a layout that cannot be is said before anything is measured
  Device device = device_of(options, settings, model.files.spec, per_host);
  RankHosts hosts = hosts_of(options, device, ranks, per_host);
  return {std::move(settings), std::move(model), std::move(device), std::move(hosts), load, wanted};
}

}  // namespace echelon
