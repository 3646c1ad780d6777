#include "launch/engine_settings.h"

#include <algorithm>
#include <thread>

namespace echelon {
namespace {

/// `name` as the option table allows it.
KvType kv_type_of(const std::string& name, Compute compute) {
  if (name == "bfloat16") return KvType::bf16;
  if (name == "float32") return KvType::f32;
  if (name == "int8") return KvType::int8;
  return default_kv_type(compute);
}

Balance balance_of(const std::string& name) {
  if (name == "least-loaded") return Balance::least_loaded;
  if (name == "round-robin") return Balance::round_robin;
  return name == "latency" ? Balance::latency : Balance::prefix;
}

Batching batching_of(const std::string& name) {
  if (name == "dynamic") return Batching::dynamic;
  return name == "static" ? Batching::fixed : Batching::continuous;
}

}  // namespace

EngineOptions engine_options(const ServeOptions& options, int ranks_on_host, int cores_of_host) {
  EngineOptions engine;
  engine.model = options.model;
  engine.served_model_name = options.served_model_name;
  engine.layers_per_stage = options.pipeline_layer_partition;
  engine.max_model_len = options.max_model_len;
  engine.max_num_seqs = options.max_num_seqs;
  engine.max_batch_tokens = options.max_num_batched_tokens;
  engine.num_kv_blocks = options.num_kv_blocks;
  engine.kv_memory_bytes = options.kv_cache_memory_bytes;
  engine.itl_target_ms = options.itl_target_ms;
  engine.max_in_flight = options.max_in_flight;
  engine.balance = balance_of(options.balance);
  engine.batching = {.policy = batching_of(options.batching),
                     .max_batch_size = options.max_batch_size,
                     .max_wait_s = options.max_wait_ms * 1e-3,
                     .group_by_length = options.group_by_length};
  engine.max_queue = options.max_queue;
  engine.max_queue_time_s = options.max_queue_time_s;
  engine.prefix_cache_ttl_s = options.prefix_cache_ttl_s;
  engine.tenant_weights = options.tenant_weights;
  engine.prefix_cache = options.enable_prefix_caching;
  switch (options.compute) {
    case ComputeChoice::automatic:
    case ComputeChoice::int8:
      engine.compute = Compute::int8;
      break;
    case ComputeChoice::bf16:
      engine.compute = Compute::bf16;
      break;
    case ComputeChoice::f32:
      engine.compute = Compute::f32;
      break;
  }
  engine.kv_type = kv_type_of(options.kv_cache_dtype, engine.compute);
  engine.isa = parse_cpu_isa(options.cpu_isa);
  const int cores = cores_of_host > 0 ? cores_of_host : static_cast<int>(std::thread::hardware_concurrency());
  engine.num_threads = options.threads > 0 ? options.threads : std::max(1, cores / ranks_on_host);
  engine.chat_template = options.chat_template;
  engine.tool_call_parser = options.tool_call_parser;
  engine.reasoning_parser = options.reasoning_parser;
  engine.default_seed = options.seed;
  engine.startup_timeout_s = options.startup_timeout_s;
  engine.repair = options.repair;
  engine.stall_timeout_s = options.stall_timeout_s;
  return engine;
}

}  // namespace echelon
