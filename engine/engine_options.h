// What an engine is asked to do: the same on every rank of a job (rank 0 compares). Plain data; the command line makes
// it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/balance.h"
#include "engine/batching.h"
#include "kernels/backend.h"

namespace echelon {

struct EngineOptions {
  std::string model;                  ///< GGUF file, Hugging Face folder, or a name in a Hugging Face cache folder
  std::string served_model_name;      ///< empty: from the path
  std::vector<int> layers_per_stage;  ///< empty: cut by cost
  int64_t max_model_len = 0;          ///< 0: the model's own
  int max_num_seqs = 64;
  int max_batch_tokens = 512;
  int64_t num_kv_blocks = 0;    ///< 0: from kv_memory_bytes
  int64_t kv_memory_bytes = 0;  ///< per rank; 0: a share of the host's free memory
  int max_in_flight = 0;        ///< 0: as many as stages, 2 with one
  int itl_target_ms = 0;        ///< longest time between two tokens that prompts may cause; 0: any
  BatchingOptions batching;
  Balance balance = Balance::prefix;
  int max_queue = 512;       ///< requests beyond those that run
  int max_queue_time_s = 0;  ///< longest time from arrival to the first micro-batch; 0: any
  bool prefix_cache = true;
  int prefix_cache_ttl_s = 0;                 ///< prefixes that nobody used for so long are forgotten; 0: never
  std::map<std::string, int> tenant_weights;  ///< in [1, kMaxTenantWeight]; others have 1
  Compute compute = Compute::int8;            ///< float matrices of a file stay floats under int8
  KvType kv_type = KvType::bf16;
  CpuIsa isa = CpuIsa::portable;
  int num_threads = 1;
  std::string chat_template;  ///< a file or a built-in name; empty: the model's own
  std::string tool_call_parser = "auto", reasoning_parser = "auto";  ///< of ModelInfo
  std::optional<uint64_t> default_seed;                              ///< of requests that bring none
  int startup_timeout_s = 300;
  bool repair = true;        ///< a lost rank costs a pause; else the job ends
  int stall_timeout_s = 30;  ///< a micro-batch without an answer, or a rank that does not come back, for so long
};

/// With one stage the second micro-batch is planned when the layers of the first are done, so that it is there when the
/// first ends; with more, stages work on different ones.
inline int micro_batches_in_flight(const EngineOptions& options, int num_stages) {
  if (num_stages == 1) return options.max_in_flight == 1 ? 1 : 2;
  return options.max_in_flight > 0 ? options.max_in_flight : num_stages;
}

}  // namespace echelon
