// One row per option of `serve`. vLLM's spelling where vLLM has the option. The order is the order of the help.
#include "launch/option_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <limits>

#include "frontend/parts/call_syntax.h"
#include "kernels/base/limits.h"
#include "launch/access_rows.h"
#include "launch/place_rows.h"

namespace echelon {
namespace {

constexpr int kMaxSequences = 4096;
constexpr int kMaxBatchedTokens = 65536;
constexpr int kMaxQueue = 1 << 20;
constexpr int kMaxQueueTime = 86400;
constexpr int kMaxPrefixTtl = 86400 * 365;
constexpr int kMaxWeight = 1000;  // kMaxTenantWeight of the engine
constexpr int kMaxInFlight = 64;
constexpr int kMaxThreads = 1024;
constexpr int kMaxLayers = 1024;
constexpr int kMaxStartupTimeout = 86400;
constexpr int kMaxDrainTime = 86400;
constexpr int64_t kMaxKvBlocks = int64_t{1} << 31;
constexpr int64_t kMaxKvBytes = int64_t{1} << 46;
constexpr int64_t kMaxDiskBytes = int64_t{1} << 50;
constexpr int kMaxJournalKeep = 30 * 86400;

constexpr std::string_view kComputeNames[] = {"auto", "int8", "bf16", "f32"};
constexpr std::string_view kKvTypeNames[] = {"auto", "bfloat16", "float32", "int8"};
constexpr std::string_view kBalanceNames[] = {"prefix", "least-loaded", "round-robin", "latency"};
constexpr std::string_view kBatchingNames[] = {"continuous", "dynamic", "static"};
constexpr std::string_view kIsaNames[] = {"auto", "portable", "avx2", "avx512", "vnni", "bf16"};
/// What --tool-call-parser takes.
std::span<const std::string_view> tool_call_parsers() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all = call_syntax_names();
    all.insert(all.begin(), {"auto", "none"});
    return all;
  }();
  return names;
}

constexpr std::string_view kReasoningParsers[] = {"auto", "none", "think"};
constexpr std::string_view kLogLevels[] = {"trace", "debug", "info", "warn", "error", "off"};

OptionRow model_len_row(ServeOptions& options) {
  OptionRow row =
      integer({.name = "max-model-len",
               .value_name = "N",
               .help = "prompt and output tokens of a sequence, 32K allowed; 0, -1 or auto: the model's own"},
              options.max_model_len, {0, kMaxModelLen}, true);
  row.set = [&options](std::span<const std::string> values) {
    const std::string& value = values.back();
    const bool automatic = value == "auto" || value == "-1";
    options.max_model_len = automatic ? 0 : static_cast<int>(parse_integer(value, {0, kMaxModelLen}, true));
  };
  return row;
}

OptionRow partition_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "pipeline-layer-partition",
                            .value_name = "N,N,..",
                            .help = "layers of each stage, such as 19,11; default: by cost"},
                           OptionShape::list);
  row.set = [&options](std::span<const std::string> values) {
    options.pipeline_layer_partition = parse_integer_list(values, {0, kMaxLayers}, kMaxRanks);
  };
  row.get = [&options] { return fmt::format("[{}]", fmt::join(options.pipeline_layer_partition, ", ")); };
  return row;
}

OptionRow compute_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "compute", .value_name = "TYPE", .help = "arithmetic: auto, int8, bf16 or f32"},
                           OptionShape::scalar);
  row.choices.assign(std::begin(kComputeNames), std::end(kComputeNames));
  row.set = [&options](std::span<const std::string> values) {
    options.compute = static_cast<ComputeChoice>(parse_choice(values.back(), kComputeNames));
  };
  row.get = [&options] { return std::string(kComputeNames[static_cast<size_t>(options.compute)]); };
  return row;
}

OptionRow seed_row(ServeOptions& options) {
  constexpr Range kSeeds{0, std::numeric_limits<int64_t>::max()};
  OptionRow row = base_row({.name = "seed",
                            .value_name = "N",
                            .help = "seed of requests that bring none; random: another one for each request"},
                           OptionShape::scalar);
  row.set = [=, &options](std::span<const std::string> values) {
    options.seed.reset();
    if (values.back() != "random") options.seed = static_cast<uint64_t>(parse_integer(values.back(), kSeeds, false));
  };
  row.get = [&options] { return options.seed ? fmt::format("{}", *options.seed) : "random"; };
  return row;
}

OptionRow tenant_weights_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "tenant-weight",
                            .value_name = "NAME=N",
                            .help = "tokens for this tenant to one of others: a request's user, or a key: its name in "
                                    "--api-key-file, \"key 1\", \"key 2\", .. of --api-key; repeatable"},
                           OptionShape::list);
  row.set = [&options](std::span<const std::string> values) {
    std::map<std::string, int> weights;
    for (const std::string& value : values) {
      check_text(value);
      const size_t equals = value.rfind('=');
      if (equals == std::string::npos || equals == 0) throw BadValue("is not NAME=N");
      const auto weight = static_cast<int>(parse_integer(value.substr(equals + 1), {1, kMaxWeight}, false));
      if (!weights.emplace(value.substr(0, equals), weight).second) throw BadValue("names a tenant twice");
    }
    options.tenant_weights = std::move(weights);
  };
  row.get = [&options] {
    std::vector<std::string> texts;
    for (const auto& [name, weight] : options.tenant_weights)
      texts.push_back(quoted(fmt::format("{}={}", name, weight)));
    return fmt::format("[{}]", fmt::join(texts, ", "));
  };
  return row;
}

std::vector<OptionRow> layout_rows(ServeOptions& options) {
  return {
      integer({.name = "tensor-parallel-size",
               .value_name = "N",
               .help = "ranks that share every layer; 0: choose",
               .short_name = "-tp"},
              options.tensor_parallel_size, {0, kMaxTensorParallel}),
      integer({.name = "pipeline-parallel-size",
               .value_name = "N",
               .help = "stages the layers are cut into; 0: choose",
               .short_name = "-pp"},
              options.pipeline_parallel_size, {0, kMaxRanks}),
      integer({.name = "data-parallel-size",
               .value_name = "N",
               .help = "replicas of the model; 0: choose",
               .short_name = "-dp"},
              options.data_parallel_size, {0, kMaxRanks}),
      partition_row(options),
      integer({.name = "spares",
               .value_name = "N",
               .help = "ranks, the last ones, that wait to take the places of lost ones"},
              options.spares, {0, kMaxRanks}),
      boolean({.name = "repair",
               .value_name = "",
               .help = "when a rank is lost, go on with those that are left; else the job ends"},
              options.repair),
      integer({.name = "stall-timeout",
               .value_name = "SECONDS",
               .help = "a micro-batch without a result, or a rank that says nothing, for so long is a fault"},
              options.stall_timeout_s, {1, kMaxStartupTimeout}),
  };
}

std::vector<OptionRow> engine_rows(ServeOptions& options) {
  return {
      model_len_row(options),
      integer({.name = "max-num-seqs", .value_name = "N", .help = "sequences that run at once"}, options.max_num_seqs,
              {1, kMaxSequences}),
      integer({.name = "max-num-batched-tokens", .value_name = "N", .help = "tokens in one micro-batch, 2K allowed"},
              options.max_num_batched_tokens, {1, kMaxBatchedTokens}, true),
      integer({.name = "num-kv-blocks",
               .value_name = "N",
               .help = fmt::format("KV blocks of {} tokens per replica; 0: from --kv-cache-memory", kBlockTokens)},
              options.num_kv_blocks, {0, kMaxKvBlocks}),
      bytes({.name = "kv-cache-memory",
             .value_name = "BYTES",
             .help = "KV cache of each rank, such as 2G; 0: from the host's free memory",
             .aliases = {"kv-cache-memory-bytes"}},
            options.kv_cache_memory_bytes, {0, kMaxKvBytes}),
      integer({.name = "itl-target-ms",
               .value_name = "MS",
               .help = "longest time between two tokens of a stream that others' prompts may cause; 0: any"},
              options.itl_target_ms, {0, 1'000'000}),
      integer({.name = "max-in-flight",
               .value_name = "N",
               .help = "micro-batches in flight; 0: as many as stages, 2 with one"},
              options.max_in_flight, {0, kMaxInFlight}),
      choice({.name = "balance",
              .value_name = "POLICY",
              .help =
                  "which replica gets a request: prefix (fewest tokens to run, cached ones not counted), least-loaded, "
                  "round-robin or latency"},
             options.balance, kBalanceNames),
      choice(
          {.name = "batching",
           .value_name = "POLICY",
           .help = "continuous; or, to compare, dynamic (requests start in batches) or static (one batch at a time)"},
          options.batching, kBatchingNames),
      integer({.name = "max-batch-size", .value_name = "N", .help = "sequences of a batch; 0: --max-num-seqs"},
              options.max_batch_size, {0, kMaxSequences}),
      integer({.name = "max-wait-ms",
               .value_name = "MS",
               .help = "longest wait for a dynamic or static batch to become full"},
              options.max_wait_ms, {0, 1'000'000}),
      boolean({.name = "group-by-length",
               .value_name = "",
               .help = "a dynamic or static batch has prompts of one power of two"},
              options.group_by_length),
      integer({.name = "max-queue", .value_name = "N", .help = "requests that may wait; more are answered 429"},
              options.max_queue, {1, kMaxQueue}),
      integer({.name = "max-queue-time-s",
               .value_name = "N",
               .help = "longest wait for the first micro-batch; then 429; 0: any"},
              options.max_queue_time_s, {0, kMaxQueueTime}),
      boolean({.name = "enable-prefix-caching",
               .value_name = "",
               .help = "reuse the KV blocks of equal beginnings",
               .aliases = {"no-prefix-cache"}},
              options.enable_prefix_caching),
      integer({.name = "prefix-cache-ttl-s",
               .value_name = "N",
               .help = "seconds after which an unused beginning is forgotten; 0: when its memory is needed"},
              options.prefix_cache_ttl_s, {0, kMaxPrefixTtl}),
      boolean({.name = "prefix-cache-per-key",
               .value_name = "",
               .help = "API keys do not use each other's equal beginnings"},
              options.prefix_cache_per_key),
      tenant_weights_row(options),
      compute_row(options),
      choice({.name = "kv-cache-dtype",
              .value_name = "TYPE",
              .help = "KV cache: auto, bfloat16, float32 or int8; auto: bfloat16, float32 with --compute f32"},
             options.kv_cache_dtype, kKvTypeNames),
      choice({.name = "cpu-isa",
              .value_name = "ISA",
              .help = "kernels: auto, portable, avx2, avx512, vnni or bf16; the same bits from each"},
             options.cpu_isa, kIsaNames),
      integer({.name = "threads",
               .value_name = "N",
               .help = "compute threads per rank; 0: the host's cores divided among its ranks"},
              options.threads, {0, kMaxThreads}),
      seed_row(options),
  };
}

std::vector<OptionRow> server_rows(ServeOptions& options) {
  return {
      text({.name = "served-model-name",
            .value_name = "NAME",
            .help = "the model's name for clients; default: from its path"},
           options.served_model_name),
      text({.name = "host", .value_name = "ADDRESS", .help = "address to listen on; 0.0.0.0: all interfaces"},
           options.host),
      port_row(options),
      text({.name = "chat-template",
            .value_name = "FILE|NAME",
            .help =
                "instead of the model's own: a file with a Jinja template, or a built-in one: alpaca, chatml, gemma, "
                "llama2, llama3, mistral, phi3, vicuna or zephyr"},
           options.chat_template),
      choice(
          {.name = "tool-call-parser",
           .value_name = "NAME",
           .help = "how the model writes calls of tools: hermes (Qwen's, too), llama3_json, mistral, mistral_args, as "
                   "its chat template does (auto), or not at all (none)"},
          options.tool_call_parser, tool_call_parsers()),
      choice({.name = "reasoning-parser",
              .value_name = "NAME",
              .help = "how the model marks its reasoning: in <think>..</think> (think), as its chat template does "
                      "(auto), or not at all (none)"},
             options.reasoning_parser, kReasoningParsers),
      text({.name = "control-interface",
            .value_name = "NAME",
            .help = "interface, address or network (ib0, 10.1.0.0/16) for traffic between hosts; default: chosen"},
           options.control_interface),
      integer({.name = "startup-timeout-s", .value_name = "N", .help = "seconds to wait for all ranks"},
              options.startup_timeout_s, {1, kMaxStartupTimeout}),
      integer({.name = "drain-before-end",
               .value_name = "SECONDS",
               .help = "drain so long before the end of a Slurm job's time, at most for half of it; 0: never"},
              options.drain_before_end_s, {0, kMaxDrainTime}),
      choice({.name = "log-level", .value_name = "LEVEL", .help = "trace, debug, info, warn, error or off"},
             options.log_level, kLogLevels),
  };
}

std::vector<OptionRow> batch_rows(ServeOptions& options) {
  return {
      text({.name = "batch-dir",
            .value_name = "DIR",
            .help = "/v1/files and /v1/batches, kept in this folder, for its owner alone; batches that had not ended "
                    "go on; default: there are none"},
           options.batch_dir),
      bytes({.name = "batch-disk", .value_name = "BYTES", .help = "all files of --batch-dir together"},
            options.batch_disk_bytes, {1, kMaxDiskBytes}),
      integer({.name = "batch-running",
               .value_name = "N",
               .help = "sequences of batches that run at once, behind those of users; 0: an eighth of --max-num-seqs"},
              options.batch_running, {0, kMaxSequences}),
      text({.name = "journal",
            .value_name = "DIR",
            .help = "streams are kept in this folder, for its owner alone, so that they go on when their connection or "
                    "this server is lost (Last-Event-ID); default: they are not"},
           options.journal_dir),
      integer({.name = "journal-keep-s", .value_name = "N", .help = "seconds for which a stream may go on"},
              options.journal_keep_s, {1, kMaxJournalKeep}),
  };
}

}  // namespace

std::vector<OptionRow> serve_rows(ServeOptions& options) {
  std::vector<OptionRow> rows{text({.name = "model",
                                    .value_name = "MODEL",
                                    .help = "GGUF file, Hugging Face folder, or a name in a Hugging Face cache folder"},
                                   options.model)};
  rows.front().operand = true;
  for (auto&& group : {layout_rows(options), engine_rows(options), server_rows(options), access_rows(options),
                       batch_rows(options), place_rows(options)})
    rows.insert(rows.end(), group.begin(), group.end());
  return rows;
}

}  // namespace echelon
