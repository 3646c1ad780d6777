// One row per option of `serve`. vLLM's spelling where vLLM has the option. The order is the order of the help.
#include "launch/option_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <limits>

#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr int kMaxSequences = 4096;
constexpr int kMaxBatchedTokens = 65536;
constexpr int kMaxQueue = 1 << 20;
constexpr int kMaxInFlight = 64;
constexpr int kMaxThreads = 1024;
constexpr int kMaxLayers = 1024;
constexpr int kMaxApiKeys = 1024;
constexpr int kMaxStartupTimeout = 86400;
constexpr size_t kMaxTextLength = 4096;
constexpr int64_t kMaxKvBlocks = int64_t{1} << 31;
constexpr int64_t kMaxKvBytes = int64_t{1} << 46;

constexpr std::string_view kComputeNames[] = {"auto", "int8", "bf16", "f32"};
constexpr std::string_view kKvTypeNames[] = {"auto", "bfloat16", "float32", "int8"};
constexpr std::string_view kIsaNames[] = {"auto", "portable", "avx2", "avx512", "vnni", "bf16"};
constexpr std::string_view kLogLevels[] = {"trace", "debug", "info", "warn", "error", "off"};

/// Double-quoted YAML; control characters never get this far.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

void check_text(const std::string& text) {
  if (text.empty()) throw BadValue("is empty");
  if (text.size() > kMaxTextLength) throw BadValue(fmt::format("is longer than {} characters", kMaxTextLength));
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::iscntrl(c) != 0; })) {
    throw BadValue("holds a control character");
  }
}

/// Name, short name, aliases, name of the value and help; set and get are added by the makers below.
struct Words {
  std::string name;
  std::string value_name;
  std::string help;
  std::string short_name = {};
  std::vector<std::string> aliases = {};
};

OptionRow base_row(Words words, OptionShape shape) {
  return {.name = std::move(words.name),
          .short_name = std::move(words.short_name),
          .aliases = std::move(words.aliases),
          .value_name = std::move(words.value_name),
          .help = std::move(words.help),
          .shape = shape,
          .set = nullptr,
          .get = nullptr};
}

template <class Int>
OptionRow integer(Words words, Int ServeOptions::*member, Range range, bool suffixes = false) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.help += fmt::format(" ({} to {})", range.first, range.last);
  row.set = [=](ServeOptions& options, std::span<const std::string> values) {
    options.*member = static_cast<Int>(parse_integer(values.back(), range, suffixes));
  };
  row.get = [=](const ServeOptions& options) { return fmt::format("{}", options.*member); };
  return row;
}

OptionRow text(Words words, std::string ServeOptions::*member) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.set = [=](ServeOptions& options, std::span<const std::string> values) {
    check_text(values.back());
    options.*member = values.back();
  };
  row.get = [=](const ServeOptions& options) { return quoted(options.*member); };
  return row;
}

OptionRow choice(Words words, std::string ServeOptions::*member, std::span<const std::string_view> names) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.set = [=](ServeOptions& options, std::span<const std::string> values) {
    options.*member = names[parse_choice(values.back(), names)];
  };
  row.get = [=](const ServeOptions& options) { return options.*member; };
  return row;
}

OptionRow boolean(Words words, bool ServeOptions::*member) {
  OptionRow row = base_row(std::move(words), OptionShape::flag);
  row.set = [=](ServeOptions& options, std::span<const std::string> values) {
    options.*member = parse_boolean(values.back());
  };
  row.get = [=](const ServeOptions& options) { return options.*member ? "true" : "false"; };
  return row;
}

OptionRow model_len_row() {
  OptionRow row =
      integer({.name = "max-model-len",
               .value_name = "N",
               .help = "prompt and output tokens of a sequence, 32K allowed; 0, -1 or auto: the model's own"},
              &ServeOptions::max_model_len, {0, kMaxModelLen}, true);
  row.set = [](ServeOptions& options, std::span<const std::string> values) {
    const std::string& value = values.back();
    const bool automatic = value == "auto" || value == "-1";
    options.max_model_len = automatic ? 0 : static_cast<int>(parse_integer(value, {0, kMaxModelLen}, true));
  };
  return row;
}

OptionRow partition_row() {
  OptionRow row = base_row({.name = "pipeline-layer-partition",
                            .value_name = "N,N,..",
                            .help = "layers of each stage, such as 19,11; default: by cost"},
                           OptionShape::list);
  row.set = [](ServeOptions& options, std::span<const std::string> values) {
    options.pipeline_layer_partition = parse_integer_list(values, {0, kMaxLayers}, kMaxRanks);
  };
  row.get = [](const ServeOptions& options) {
    return fmt::format("[{}]", fmt::join(options.pipeline_layer_partition, ", "));
  };
  return row;
}

OptionRow kv_memory_row() {
  OptionRow row = base_row({.name = "kv-cache-memory",
                            .value_name = "BYTES",
                            .help = "KV cache of each rank, such as 2G; 0: from the host's free memory",
                            .aliases = {"kv-cache-memory-bytes"}},
                           OptionShape::scalar);
  row.set = [](ServeOptions& options, std::span<const std::string> values) {
    options.kv_cache_memory_bytes = parse_bytes(values.back(), {0, kMaxKvBytes});
  };
  row.get = [](const ServeOptions& options) { return fmt::format("{}", options.kv_cache_memory_bytes); };
  return row;
}

OptionRow compute_row() {
  OptionRow row = base_row({.name = "compute", .value_name = "TYPE", .help = "arithmetic: auto, int8, bf16 or f32"},
                           OptionShape::scalar);
  row.set = [](ServeOptions& options, std::span<const std::string> values) {
    options.compute = static_cast<ComputeChoice>(parse_choice(values.back(), kComputeNames));
  };
  row.get = [](const ServeOptions& options) {
    return std::string(kComputeNames[static_cast<size_t>(options.compute)]);
  };
  return row;
}

OptionRow seed_row() {
  constexpr Range kSeeds{0, std::numeric_limits<int64_t>::max()};
  OptionRow row = base_row({.name = "seed",
                            .value_name = "N",
                            .help = "seed of requests that bring none; random: another one for each request"},
                           OptionShape::scalar);
  row.set = [=](ServeOptions& options, std::span<const std::string> values) {
    options.seed.reset();
    if (values.back() != "random") options.seed = static_cast<uint64_t>(parse_integer(values.back(), kSeeds, false));
  };
  row.get = [](const ServeOptions& options) { return options.seed ? fmt::format("{}", *options.seed) : "random"; };
  return row;
}

OptionRow api_key_row() {
  OptionRow row = base_row({.name = "api-key",
                            .value_name = "KEY",
                            .help = "a key that clients must send; repeatable; in a variable, separated by commas. "
                                    "Other users of the host can read flags: prefer ECHELON_API_KEY or the file"},
                           OptionShape::list);
  row.set = [](ServeOptions& options, std::span<const std::string> values) {
    if (values.size() > kMaxApiKeys) throw BadValue(fmt::format("more than {} keys", kMaxApiKeys));
    for (const std::string& value : values) {
      check_text(value);
      if (value.find(' ') != std::string::npos) throw BadValue("holds a space");
    }
    options.api_keys.assign(values.begin(), values.end());
  };
  row.get = [](const ServeOptions& options) {
    return fmt::format("[{}]", fmt::join(std::vector<std::string>(options.api_keys.size(), "\"***\""), ", "));
  };
  return row;
}

std::vector<OptionRow> layout_rows() {
  return {
      integer({.name = "tensor-parallel-size",
               .value_name = "N",
               .help = "ranks that share every layer; 0: choose",
               .short_name = "-tp"},
              &ServeOptions::tensor_parallel_size, {0, kMaxTensorParallel}),
      integer({.name = "pipeline-parallel-size",
               .value_name = "N",
               .help = "stages the layers are cut into; 0: choose",
               .short_name = "-pp"},
              &ServeOptions::pipeline_parallel_size, {0, kMaxRanks}),
      integer({.name = "data-parallel-size",
               .value_name = "N",
               .help = "replicas of the model; 0: choose",
               .short_name = "-dp"},
              &ServeOptions::data_parallel_size, {0, kMaxRanks}),
      partition_row(),
  };
}

std::vector<OptionRow> engine_rows() {
  return {
      model_len_row(),
      integer({.name = "max-num-seqs", .value_name = "N", .help = "sequences that run at once"},
              &ServeOptions::max_num_seqs, {1, kMaxSequences}),
      integer({.name = "max-num-batched-tokens", .value_name = "N", .help = "tokens in one micro-batch, 2K allowed"},
              &ServeOptions::max_num_batched_tokens, {1, kMaxBatchedTokens}, true),
      integer({.name = "num-kv-blocks",
               .value_name = "N",
               .help = fmt::format("KV blocks of {} tokens per replica; 0: from --kv-cache-memory", kBlockTokens)},
              &ServeOptions::num_kv_blocks, {0, kMaxKvBlocks}),
      kv_memory_row(),
      integer({.name = "itl-target-ms",
               .value_name = "MS",
               .help = "longest time between two tokens of a stream that others' prompts may cause; 0: any"},
              &ServeOptions::itl_target_ms, {0, 1'000'000}),
      integer({.name = "max-in-flight",
               .value_name = "N",
               .help = "micro-batches in flight; 0: as many as stages, 2 with one"},
              &ServeOptions::max_in_flight, {0, kMaxInFlight}),
      integer({.name = "max-queue", .value_name = "N", .help = "requests that may wait; more are answered 429"},
              &ServeOptions::max_queue, {1, kMaxQueue}),
      boolean({.name = "enable-prefix-caching",
               .value_name = "",
               .help = "reuse the KV blocks of equal beginnings",
               .aliases = {"no-prefix-cache"}},
              &ServeOptions::enable_prefix_caching),
      compute_row(),
      choice({.name = "kv-cache-dtype",
              .value_name = "TYPE",
              .help = "KV cache: auto, bfloat16, float32 or int8; auto: bfloat16, float32 with --compute f32"},
             &ServeOptions::kv_cache_dtype, kKvTypeNames),
      choice({.name = "cpu-isa",
              .value_name = "ISA",
              .help = "kernels: auto, portable, avx2, avx512, vnni or bf16; the same bits from each"},
             &ServeOptions::cpu_isa, kIsaNames),
      integer({.name = "threads",
               .value_name = "N",
               .help = "compute threads per rank; 0: the host's cores divided among its ranks"},
              &ServeOptions::threads, {0, kMaxThreads}),
      seed_row(),
  };
}

std::vector<OptionRow> server_rows() {
  return {
      text({.name = "served-model-name",
            .value_name = "NAME",
            .help = "the model's name for clients; default: from its path"},
           &ServeOptions::served_model_name),
      text({.name = "host", .value_name = "ADDRESS", .help = "address to listen on; 0.0.0.0: all interfaces"},
           &ServeOptions::host),
      integer({.name = "port", .value_name = "N", .help = "port to listen on; 0: any free one"}, &ServeOptions::port,
              {0, 65535}),
      api_key_row(),
      text({.name = "chat-template", .value_name = "FILE", .help = "a Jinja template instead of the model's own"},
           &ServeOptions::chat_template),
      text({.name = "control-interface",
            .value_name = "NAME",
            .help = "interface, address or network (ib0, 10.1.0.0/16) for traffic between hosts; default: chosen"},
           &ServeOptions::control_interface),
      integer({.name = "startup-timeout-s", .value_name = "N", .help = "seconds to wait for all ranks"},
              &ServeOptions::startup_timeout_s, {1, kMaxStartupTimeout}),
      choice({.name = "log-level", .value_name = "LEVEL", .help = "trace, debug, info, warn, error or off"},
             &ServeOptions::log_level, kLogLevels),
  };
}

}  // namespace

const std::vector<OptionRow>& option_table() {
  static const std::vector<OptionRow> table = [] {
    std::vector<OptionRow> rows{
        text({.name = "model",
              .value_name = "MODEL",
              .help = "GGUF file, Hugging Face folder, or a name in a Hugging Face cache folder"},
             &ServeOptions::model)};
    for (auto&& group : {layout_rows(), engine_rows(), server_rows()})
      rows.insert(rows.end(), group.begin(), group.end());
    return rows;
  }();
  return table;
}

std::string environment_name(const std::string& option_name) {
  std::string out = "ECHELON_";
  for (const char c : option_name)
    out += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace echelon
