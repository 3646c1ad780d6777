// The command line of `echelon serve`: flags, ECHELON_* variables and a YAML file become one plain struct. Every option
// is defined once, in option_table.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/command_line.h"

namespace echelon {

enum class ComputeChoice { automatic, int8, bf16, f32 };

/// What `serve` was asked to do. A 0 that means "choose" says so; everything else is in range when parse_serve made it.
struct ServeOptions {
  std::string model;                          ///< GGUF file, Hugging Face folder or name in a Hugging Face cache folder
  std::string served_model_name;              ///< empty: from the model's path
  std::string host = "127.0.0.1";             ///< address the HTTP server binds
  int port = 8000;                            ///< 0: any free port
  int last_port = 0;                          ///< of a range that begins with port; 0: port alone
  std::string endpoint_file;                  ///< says to programs where the server is; empty: none
  std::string prometheus_targets;             ///< likewise to Prometheus
  std::string log_dir;                        ///< a file for each rank's log; empty: stderr alone
  std::vector<std::string> listen;            ///< in place of host and port; empty: those
  std::string tls_cert, tls_key;              ///< PEM files; empty: no TLS
  std::vector<std::string> api_keys;          ///< in clear
  std::string api_key_file;                   ///< empty: none
  int64_t limit_requests_per_min = 0;         ///< of each key; 0: any
  int64_t limit_tokens_per_min = 0;           ///< likewise, of prompts and answers
  int64_t max_connections = 1024;             ///< at once
  int64_t max_connections_per_address = 512;  ///< 0: any
  int64_t max_body_bytes = 32 << 20;          ///< of a request
  int header_timeout_s = 10, body_timeout_s = 60, idle_timeout_s = 75, write_timeout_s = 30;
  std::string request_log;                    ///< file of a line for each request; empty: none
  bool request_log_text = false;              ///< bodies, too
  std::vector<std::string> cors_origins;      ///< pages that may ask; "*": any
  std::string batch_dir;                      ///< files and batches are kept here; empty: there are none
  int64_t batch_disk_bytes = int64_t{10} << 30;  ///< of them together
  std::string journal_dir;                       ///< streams are kept here, to be resumed; empty: they are not
  int journal_keep_s = 3600;                     ///< behind their last token
  int batch_running = 0;                         ///< their choices in the engine at once; 0: an eighth of max_num_seqs
  bool require_api_key = true;                   ///< a key is made when others reach the server and none is given
  int tensor_parallel_size = 0;                  ///< 0: choose
  int pipeline_parallel_size = 0;                ///< 0: choose
  int data_parallel_size = 0;                    ///< 0: choose
  std::vector<int> pipeline_layer_partition;     ///< layers of each stage; empty: by cost
  int max_model_len = 0;                         ///< prompt and output tokens; 0: the model's own
  int max_num_seqs = 64;                         ///< sequences that run at once
  int max_num_batched_tokens = 512;              ///< tokens in one micro-batch
  int64_t num_kv_blocks = 0;                     ///< per replica; 0: from kv_cache_memory_bytes
  int64_t kv_cache_memory_bytes = 0;             ///< per rank; 0: from the host's free memory
  int itl_target_ms = 0;                         ///< 0: none
  int max_in_flight = 0;                         ///< micro-batches; 0: as many as stages, 2 with one
  int max_queue = 512;                           ///< requests that wait; more get 429
  int prefix_cache_ttl_s = 0;                    ///< unused prefixes are forgotten after so long; 0: never
  bool prefix_cache_per_key = true;              ///< API keys share no prefixes
  std::map<std::string, int> tenant_weights;     ///< by `user`, or "key N"
  std::string balance = "prefix";                ///< prefix, least-loaded, round-robin or latency
  std::string batching = "continuous";           ///< continuous, dynamic or static
  int max_batch_size = 0;                        ///< sequences of a batch; 0: max_num_seqs
  int max_wait_ms = 50;                          ///< for a batch to become full, unless continuous
  bool group_by_length = false;                  ///< prompts of a batch are alike
  int max_queue_time_s = 0;                      ///< requests that have not started by then get 429; 0: none
  bool enable_prefix_caching = true;
  ComputeChoice compute = ComputeChoice::automatic;
  std::string kv_cache_dtype = "auto";  ///< auto, bfloat16, float32 or int8
  std::string cpu_isa = "auto";         ///< auto, portable, avx2, avx512, vnni or bf16
  int threads = 0;                      ///< compute threads per rank; 0: the host's cores divided among its ranks
  std::optional<uint64_t> seed;         ///< for requests that bring none; empty: a random one each
  std::string chat_template;            ///< file or built-in name; empty: the model's own
  std::string tool_call_parser = "auto", reasoning_parser = "auto";
  std::string control_interface;  ///< interface, address or network of control and data; empty: choose
  int startup_timeout_s = 300;    ///< ranks that have not appeared by then are named and the job ends
  int spares = 0;                 ///< ranks that wait to take the place of a lost one
  bool repair = true;             ///< a lost rank costs a pause, where the launcher leaves the others alive
  int drain_before_end_s = 120;   ///< of a batch job's time; 0: never
  int stall_timeout_s = 30;       ///< a micro-batch without a result, or a rank without a word, for so long
  std::string log_level = "info";
};

struct ServeInvocation : Invocation {
  ServeOptions options;
};

/// As parse_command().
ServeInvocation parse_serve(const std::vector<std::string>& arguments, const Environment& environment);

std::string serve_help();

}  // namespace echelon
