// How near is one rank's forward pass to the machine? Without engine or HTTP: prefill of a prompt, one stream and many
// streams at some context, each with the ceilings of the same number of threads measured beside every repetition, and
// where the time goes; and choosing a token, apart. Medians; the least time in brackets. Blocks of the KV cache are
// handed out in a shuffled order, as in a server that has run for a while.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/ceilings.h"
#include "benchmarks/timed_backend.h"
#include "engine/model/open_model.h"
#include "engine/model/stage_model.h"
#include "engine/sample/sampler.h"
#include "kernels/base/limits.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/thread_pool.h"
#include "parallel/local/local_group.h"

namespace echelon::bench {
namespace {

struct Options {
  std::string model, isa = "auto", compute = "int8", kv_type = "auto";
  bool json = false;
  int threads = 1, prompt = 512, chunk = 512, context = 200, rows = 32, repetitions = 9;
};

double seconds_of(const auto& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
double least(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

/// What all threads together reach now: int8 multiply-adds and bytes read, a second.
class Ceilings {
 public:
  Ceilings(int num_threads, CpuIsa isa) : threads_(num_threads), isa_(isa) {
    for (int t = 0; t < num_threads; ++t) {
      memory_.push_back(std::make_unique<cpu::AlignedMemory>(kBytes));
      std::fill_n(memory_.back()->data(), kBytes, std::byte{1});
    }
    if (isa_ != CpuIsa::portable) read_all(memory_[0]->data(), kBytes);  // the first call takes longer
  }
  double dots() {
    if (isa_ == CpuIsa::portable) return 0;
    const double macs = static_cast<double>(kDotsARound * macs_of_dot(isa_)) * kRounds * threads_.num_threads();
    return macs / seconds_of([&] { threads_.parallel(threads_.num_threads(), [&](int) { run_dots(isa_, kRounds); }); });
  }
  /// Of 4-bit weights with scales and minimums.
  double inner_loop() {
    if (isa_ == CpuIsa::portable) return 0;
    constexpr int64_t kInnerRounds = 200'000;
    const double macs = static_cast<double>(macs_of_inner_loop(isa_) * kInnerRounds) * threads_.num_threads();
    return macs / seconds_of([&] {
             threads_.parallel(threads_.num_threads(), [&](int) { run_inner_loop(isa_, kInnerRounds); });
           });
  }
  double read() {
    if (isa_ == CpuIsa::portable) return 0;
    return static_cast<double>(kBytes) * threads_.num_threads() / seconds_of([&] {
             threads_.parallel(threads_.num_threads(), [&](int t) { read_all(memory_[t]->data(), kBytes); });
           });
  }

 private:
  static constexpr int64_t kRounds = 1'000'000;
  static constexpr size_t kBytes = size_t{96} << 20;
  cpu::ThreadPool threads_;
  CpuIsa isa_;
  std::vector<std::unique_ptr<cpu::AlignedMemory>> memory_;
};

/// One rank that holds the whole model, and the blocks of its sequences.
class Rank {
 public:
  explicit Rank(const Options& options)
      : options_(options),
        isa_(parse_cpu_isa(options.isa)),
        open_(open_model(options.model)),
        backend_(
            make_cpu_backend({.compute = compute_of(options.compute), .num_threads = options.threads, .isa = isa_})),
        timed_(*backend_),
        group_(make_group_of_one()) {
    const ModelSpec& spec = open_.files.spec;
    const Shard shard = make_shard(spec, {}, {}, {spec.num_layers});
    const int longest = std::max(options.prompt, options.context + 1);
    blocks_of_one_ = (longest + kBlockTokens - 1) / kBlockTokens;
    const int num_blocks = blocks_of_one_ * options.rows;
    StageWeights weights = load_stage_weights(open_.files, shard, timed_, nullptr);
    weight_bytes_ = weights.size_bytes();
    kv_type_ = options.kv_type == "int8"       ? KvType::int8
               : options.kv_type == "float32"  ? KvType::f32
               : options.kv_type == "bfloat16" ? KvType::bf16
                                               : default_kv_type(timed_.compute());
    model_ = std::make_unique<StageModel>(spec, shard, std::move(weights), timed_, *group_,
                                          StageModelOptions{.max_rows = std::max(options.chunk, options.rows),
                                                            .max_model_len = int64_t{longest} + kBlockTokens,
                                                            .num_blocks = num_blocks,
                                                            .kv_type = kv_type_},
                                          open_.rope_factors);
    for (int b = 0; b < num_blocks; ++b) blocks_.push_back(b);
    std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(1));
  }

  CpuIsa isa() const { return isa_; }
  size_t weight_bytes() const { return weight_bytes_; }
  TimedBackend& timed() { return timed_; }
  /// KV bytes of one token in all layers.
  size_t kv_bytes() const {
    const ModelSpec& spec = open_.files.spec;
    const Shard shard = make_shard(spec, {}, {}, {spec.num_layers});
    return StageModel::kv_block_bytes(spec, shard, kv_type_) / kBlockTokens;
  }
  /// Multiply-adds of one row with all weights but the head's.
  double macs_per_token() const {
    const ModelSpec& spec = open_.files.spec;
    const double heads = spec.num_heads + 2.0 * spec.num_kv_heads + spec.num_heads;
    return spec.num_layers *
           (double(spec.hidden) * spec.head_dim * heads + 3.0 * double(spec.hidden) * spec.intermediate);
  }

  /// Logits of the last token of a prompt that was just run, in host memory.
  std::span<const float> last_logits(int length) {
    const int last = (length - 1) % options_.chunk;
    return model_->logits(std::span(&last, 1));
  }
  /// Tokens [first, first + count) of sequence s; logits of the last one when asked.
  void chunk(int s, int first, int count, bool sample) {
    std::vector<TokenId> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(token(s, first + i));
    const Segment segment{.first_row = 0, .num_rows = count, .first_position = first, .blocks = blocks(s)};
    const BatchView view{.tokens = tokens, .segments = std::span(&segment, 1)};
    model_->embed(view);
    model_->run_layers(view);
    const int last = count - 1;
    if (sample) model_->logits(std::span(&last, 1));
  }
  void prompt(int s, int length) {
    for (int first = 0; first < length; first += options_.chunk) {
      const int count = std::min(options_.chunk, length - first);
      chunk(s, first, count, first + count == length);
    }
  }
  /// One token of each of `rows` sequences at position `context`.
  void decode(int rows, int context) {
    std::vector<TokenId> tokens;
    std::vector<Segment> segments;
    std::vector<int> sampled;
    for (int s = 0; s < rows; ++s) {
      tokens.push_back(token(s, context));
      segments.push_back({.first_row = s, .num_rows = 1, .first_position = context, .blocks = blocks(s)});
      sampled.push_back(s);
    }
    const BatchView view{.tokens = tokens, .segments = segments};
    model_->embed(view);
    model_->run_layers(view);
    for (int first = 0; first < rows; first += kLogitRows) {
      model_->logits(std::span(sampled).subspan(first, std::min(kLogitRows, rows - first)));
    }
  }

 private:
  static Compute compute_of(const std::string& name) {
    return name == "f32" ? Compute::f32 : name == "bf16" ? Compute::bf16 : Compute::int8;
  }
  TokenId token(int s, int position) const {
    return static_cast<TokenId>((int64_t{s} * 7919 + int64_t{position} * 104729) % open_.files.spec.vocab);
  }
  std::span<const int32_t> blocks(int s) const {
    return std::span(blocks_).subspan(static_cast<size_t>(s) * blocks_of_one_, blocks_of_one_);
  }

  Options options_;
  CpuIsa isa_;
  OpenModel open_;
  std::unique_ptr<Backend> backend_;
  TimedBackend timed_;
  std::unique_ptr<Communicator> group_;
  std::unique_ptr<StageModel> model_;
  std::vector<int32_t> blocks_;
  int blocks_of_one_ = 0;
  size_t weight_bytes_ = 0;
  KvType kv_type_ = KvType::bf16;
};

struct Measured {
  std::vector<double> seconds, products, dots, inner_loop, read;  ///< products: multiply-adds a second in linear()
};

/// Repeats `pass`, with the ceilings before each, and prints where the time went.
Measured measure(const Options& options, Rank& rank, Ceilings& ceilings, const std::string& title, int passes,
                 const auto& pass) {
  Measured measured;
  pass();
  rank.timed().reset();
  for (int i = 0; i < options.repetitions; ++i) {
    measured.dots.push_back(ceilings.dots());
    measured.inner_loop.push_back(ceilings.inner_loop());
    measured.read.push_back(ceilings.read());
    for (int p = 0; p < passes; ++p) {
      const TimedBackend::Cost before = rank.timed().costs()[TimedBackend::kProduct];
      measured.seconds.push_back(seconds_of(pass));
      const TimedBackend::Cost& after = rank.timed().costs()[TimedBackend::kProduct];
      measured.products.push_back((after.macs - before.macs) / (after.seconds - before.seconds));
    }
  }
  if (options.json) return measured;
  double total = 0, inside = 0;
  for (const double s : measured.seconds) total += s;
  fmt::print("\n{}: {:.2f} ms ({:.2f})\n ", title, 1e3 * median(measured.seconds), 1e3 * least(measured.seconds));
  for (int o = 0; o < TimedBackend::kNumOperations; ++o) {
    const TimedBackend::Cost& cost = rank.timed().costs()[o];
    inside += cost.seconds;
    if (cost.calls > 0) fmt::print(" {} {:.1f} %,", TimedBackend::kNames[o], 100 * cost.seconds / total);
  }
  fmt::print(" rest {:.1f} %\n", 100 * (total - inside) / total);
  return measured;
}

/// Microseconds to choose a token from the logits of a real position, one row after another.
void measure_sampling(const Options& options, Rank& rank) {
  rank.prompt(0, options.prompt);
  const std::span<const float> logits = rank.last_logits(options.prompt);
  struct Case {
    const char* title;
    SamplingParams sampling;
  };
  const Case cases[] = {{"greedy", {.temperature = 0}},
                        {"temperature 1", {.temperature = 1}},
                        {"temperature 0.7, top_p 0.9", {.temperature = 0.7f, .top_p = 0.9f}},
                        {"top_k 40", {.temperature = 1, .top_k = 40}},
                        {"greedy with 5 logprobs", {.temperature = 0, .num_logprobs = 5}}};
  Sampler sampler({});
  fmt::print("\nsampling, us a row of {}:", logits.size());
  for (const Case& c : cases) {
    const SamplingState state(c.sampling, 0, 0, {});
    std::vector<double> seconds;
    for (int i = 0; i < 20 * options.repetitions; ++i) {
      seconds.push_back(seconds_of([&] { sampler.sample(logits, state, i); }));
    }
    fmt::print(" {} {:.0f};", c.title, 1e6 * median(seconds));
  }
  fmt::print("\n");
}

/// One object on standard output; rates are of medians.
class JsonReport {
 public:
  JsonReport(const Options& options, const Rank& rank) {
    text_ = fmt::format(R"({{"model":{:?},"isa":"{}","threads":{},"weight_bytes":{},"kv_bytes_per_token":{})",
                        options.model, to_string(rank.isa()), options.threads, rank.weight_bytes(), rank.kv_bytes());
  }
  void prefill(int tokens, double macs, const Measured& m) {
    text_ += fmt::format(
        R"(,"prefill":{{"tokens":{},"tokens_per_s":{:.1f},"products_gmacs":{:.1f},"pass_gmacs":{:.1f},"dot_gmacs":{:.1f},)"
        R"("inner_loop_gmacs":{:.1f}}},"decode":[)",
        tokens, tokens / median(m.seconds), 1e-9 * median(m.products), 1e-9 * macs / median(m.seconds),
        1e-9 * median(m.dots), 1e-9 * median(m.inner_loop));
  }
  void decode(int rows, int context, double bytes, const Measured& m) {
    text_ += fmt::format(
        R"({}{{"rows":{},"context":{},"tokens_per_s":{:.1f},"seconds":{:.6f},"bytes":{:.0f},"gb_per_s":{:.2f},)"
        R"("read_gb_per_s":{:.2f}}})",
        text_.back() == '[' ? "" : ",", rows, context, rows / median(m.seconds), median(m.seconds), bytes,
        1e-9 * bytes / median(m.seconds), 1e-9 * median(m.read));
  }
  void print() const { fmt::print("{}]}}\n", text_); }

 private:
  std::string text_;
};

void print_prefill(const Options& options, double macs, const Measured& m) {
  fmt::print(
      "  {:.0f} tok/s; {:.0f} G MAC/s of the layers' products over the whole pass, {:.0f} % of {:.0f} (registers)\n",
      options.prompt / median(m.seconds), 1e-9 * macs / median(m.seconds),
      100 * macs / median(m.seconds) / median(m.dots), 1e-9 * median(m.dots));
  fmt::print("  products alone {:.0f} G MAC/s, {:.0f} % of the dots", 1e-9 * median(m.products),
             100 * median(m.products) / median(m.dots));
  if (const double inner = median(m.inner_loop); inner > 0) {
    fmt::print(", {:.0f} % of {:.0f} (inner loop of 4-bit weights with minimums)", 100 * median(m.products) / inner,
               1e-9 * inner);
  }
  fmt::print("\n");
}

int run(const Options& options) {
  Rank rank(options);
  Ceilings ceilings(options.threads, rank.isa());
  JsonReport json(options, rank);
  if (!options.json) {
    fmt::print("{}, {}, {} threads, {}: weights {:.1f} MB, KV {:.1f} KB a token\n", options.model, options.compute,
               options.threads, to_string(rank.isa()), 1e-6 * double(rank.weight_bytes()),
               1e-3 * double(rank.kv_bytes()));
  }

  const Measured prefill = measure(options, rank, ceilings, fmt::format("prefill of {}", options.prompt), 1,
                                   [&] { rank.prompt(0, options.prompt); });
  const double macs = rank.macs_per_token() * options.prompt;
  json.prefill(options.prompt, macs, prefill);
  if (!options.json) {
    print_prefill(options, macs, prefill);
    measure_sampling(options, rank);
  }
  for (int s = 0; s < options.rows; ++s) rank.prompt(s, options.context);
  std::vector<int> row_counts{1};
  if (options.rows > 1) row_counts.push_back(options.rows);
  for (const int rows : row_counts) {
    const Measured decode =
        measure(options, rank, ceilings, fmt::format("{} rows at context {}", rows, options.context),
                rows == 1 ? 20 : 5, [&] { rank.decode(rows, options.context); });
    const double bytes = double(rank.weight_bytes()) + double(rank.kv_bytes()) * (options.context + 1) * rows;
    json.decode(rows, options.context, bytes, decode);
    if (options.json) continue;
    fmt::print("  {:.0f} tok/s; {:.1f} GB/s of weights and KV, {:.0f} % of {:.1f} (read loop)\n",
               rows / median(decode.seconds), 1e-9 * bytes / median(decode.seconds),
               100 * bytes / median(decode.seconds) / median(decode.read), 1e-9 * median(decode.read));
  }
  if (options.json) json.print();
  return 0;
}

}  // namespace
}  // namespace echelon::bench

int main(int argc, char** argv) {
  echelon::bench::Options options;
  CLI::App app("How near is one rank's forward pass to the machine?");
  app.add_option("model", options.model, "a GGUF file or a folder")->required();
  app.add_flag("--json", options.json, "one JSON object, for benchmarks/cpu");
  app.add_option("--threads", options.threads, "threads")->check(CLI::Range(1, 1024));
  app.add_option("--isa", options.isa, "auto, portable, avx2, avx512, vnni, bf16");
  app.add_option("--compute", options.compute, "int8, bf16, f32")->check(CLI::IsMember({"int8", "bf16", "f32"}));
  app.add_option("--kv-cache-dtype", options.kv_type, "auto, bfloat16, float32, int8")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32", "int8"}));
  app.add_option("--prompt", options.prompt, "tokens of the prefill")->check(CLI::Range(1, 1 << 20));
  app.add_option("--chunk", options.chunk, "tokens of one pass")->check(CLI::Range(1, 1 << 16));
  app.add_option("--context", options.context, "tokens before a decode")->check(CLI::Range(1, 1 << 20));
  app.add_option("--rows", options.rows, "sequences of the second decode")->check(CLI::Range(1, 1024));
  app.add_option("--repetitions", options.repetitions, "of each measurement")->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  try {
    return echelon::bench::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "model_bench: {}\n", error.what());
    return 1;
  }
}
