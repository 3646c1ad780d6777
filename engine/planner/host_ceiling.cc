#include "engine/planner/host_ceiling.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <thread>

#include "engine/model/rank_memory.h"
#include "kernels/base/limits.h"
#include "parallel/local/local_group.h"

namespace echelon {
namespace {

/// Of each thread, and of all: more than last-level caches hold.
constexpr size_t kLeastReadBytes = size_t{16} << 20, kLeastReadOfAll = size_t{128} << 20;
constexpr int kAttentionRows = 256, kDecodes = 16, kAttentionContext = 512;
constexpr int kRepetitions = 4;
constexpr int64_t kFewRows = 16, kMostOutFeatures = 4096;
/// Of weights, and of keys and values: what a host's caches do not hold from one micro-batch to the next.
constexpr size_t kColdBytes = size_t{256} << 20;
/// Of SmolLM2 on two cores of a Zen 5 EPYC: what a decoded token takes beyond reading its weights (30 layers, 0.1 ms),
/// and what the engine adds (0.07 ms); benchmarks/results/2026-11-26-amd-epyc-26-2.md.
constexpr double kLayerLatency = 3e-6, kBatchLatency = 70e-6;
constexpr LinkRate kEthernet{.bytes_per_s = 1.25e9, .latency_s = 50e-6};

/// The least of some repetitions, after one that warms up.
double seconds_of(const std::function<void()>& f) {
  f();
  double least = 0;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    least = i == 0 ? seconds : std::min(least, seconds);
  }
  return least;
}

/// A matrix in which every value is the same; only its size and coding matter.
class EvenMatrix final : public MatrixSource {
 public:
  EvenMatrix(int64_t rows, int64_t cols, Coding coding) : rows_(rows), cols_(cols), coding_(coding) {}
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Coding coding() const override { return coding_; }
  void read_floats(int64_t, int64_t, std::span<float> out) const override { std::fill(out.begin(), out.end(), 0.5f); }
  void read_quantized(int64_t, int64_t, QuantizedRow out) const override {
    std::fill(out.codes.begin(), out.codes.end(), uint8_t{3});
    std::fill(out.scales.begin(), out.scales.end(), 0.5f);
    if (coding_.has_minimum) std::fill(out.minimums.begin(), out.minimums.end(), -0.5f);
  }

 private:
  int64_t rows_, cols_;
  Coding coding_;
};

size_t read_bytes(int num_threads) {
  return std::max(kLeastReadBytes, kLeastReadOfAll / static_cast<size_t>(num_threads));
}

double read_rate(Backend& backend) {
  const int num_threads = backend.num_host_threads();
  const size_t num_bytes = read_bytes(num_threads);
  const auto buffer = backend.allocate(num_bytes * static_cast<size_t>(num_threads));
  backend.run_on_host(num_threads, [&](int part) {  // pages never written are all the same one
    std::fill_n(buffer->data() + static_cast<size_t>(part) * num_bytes, num_bytes, std::byte{1});
  });
  std::vector<uint64_t> sums(static_cast<size_t>(num_threads));
  const double seconds = seconds_of([&] {
    backend.run_on_host(num_threads, [&](int part) {
      const auto* words = reinterpret_cast<const uint64_t*>(buffer->data() + static_cast<size_t>(part) * num_bytes);
      sums[static_cast<size_t>(part)] += std::accumulate(words, words + num_bytes / sizeof(uint64_t), uint64_t{0});
    });
  });
  return static_cast<double>(num_bytes) * num_threads / seconds;
}

/// Products of activations with matrices of one layer after the other.
class Products {
 public:
  Products(Backend& backend, const Coding& coding, int64_t out_features, int64_t in_features, int64_t most_rows)
      : backend_(backend), coding_(coding), out_features_(out_features), in_features_(in_features) {
    const auto floats = [&](int64_t count) { return backend.allocate(static_cast<size_t>(count) * sizeof(float)); };
    in_ = floats(most_rows * in_features);
    out_ = floats(most_rows * out_features);
    norm_ = floats(in_features);
    x_ = backend.make_activation(most_rows, in_features);
  }

  void add_matrices(int count) {
    const EvenMatrix source(out_features_, in_features_, coding_);
    for (; count > 0; --count) {
      weights_.push_back(backend_.pack({.rows = {{.source = &source, .first_row = 0, .num_rows = out_features_}},
                                        .first_col = 0,
                                        .leaves = {{.num_cols = in_features_, .merges = 0, .slot = 0}}}));
    }
  }

  /// Operations per second.
  double rate(int64_t rows) {
    backend_.rms_norm(matrix(*in_, rows, in_features_), reinterpret_cast<const float*>(norm_->data()), 1e-5f, *x_);
    const double seconds = seconds_of([&] {
      for (const auto& weight : weights_)
        backend_.linear(*x_, rows, *weight, nullptr, matrix(*out_, rows, out_features_), 0);
    });
    return 2.0 * static_cast<double>(weights_.size()) * static_cast<double>(rows * out_features_ * in_features_) /
           seconds;
  }

 private:
  static Matrix matrix(Buffer& buffer, int64_t rows, int64_t cols) {
    return {reinterpret_cast<float*>(buffer.data()), rows, cols, cols};
  }
  Backend& backend_;
  Coding coding_;
  int64_t out_features_, in_features_;
  std::vector<std::unique_ptr<PackedMatrix>> weights_;
  std::unique_ptr<Buffer> in_, out_, norm_;
  std::unique_ptr<Activation> x_;
};

int64_t in_features(const LayerShape& shape) { return std::max(shape.hidden / kQuantGroup, int64_t{1}) * kQuantGroup; }
int64_t out_features(const LayerShape& shape) { return std::clamp(shape.intermediate, int64_t{64}, kMostOutFeatures); }

double most_product_rate(Backend& backend, const Coding& coding, const LayerShape& shape) {
  Products products(backend, coding, out_features(shape), in_features(shape), RowRate::kRows.back());
  products.add_matrices(1);
  return products.rate(RowRate::kRows.back());
}

/// Few rows wait for weights, which no cache holds from one micro-batch to the next; many do not.
RowRate product_rates(Backend& backend, const Coding& coding, const LayerShape& shape) {
  Products products(backend, coding, out_features(shape), in_features(shape), RowRate::kRows.back());
  std::array<double, RowRate::kRows.size()> rates{};
  products.add_matrices(1);
  for (size_t i = 0; i < rates.size(); ++i) {
    if (RowRate::kRows[i] > kFewRows) rates[i] = products.rate(RowRate::kRows[i]);
  }
  products.add_matrices(
      static_cast<int>(kColdBytes / backend.packed_bytes(coding, out_features(shape), in_features(shape))));
  for (size_t i = 0; i < rates.size(); ++i) {
    if (RowRate::kRows[i] <= kFewRows) rates[i] = products.rate(RowRate::kRows[i]);
  }
  return RowRate(rates);
}

struct AttentionSpeed {
  double operations_per_s = 0;
  double rows_per_s = 0;  ///< rope, and keys and values into the cache, in one layer
};

/// Of segments that see kAttentionContext keys, each its own; a cache of at least so many bytes.
AttentionSpeed attention_speed(Backend& backend, const LayerShape& shape, int num_segments, int rows_of_segment,
                               size_t least_bytes) {
  const int width = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
  constexpr int64_t kNumBlocks = kAttentionContext / kBlockTokens;
  const int num_rows = num_segments * rows_of_segment;
  const auto qkv = backend.allocate(static_cast<size_t>(num_rows) * width * sizeof(float));
  const auto out = backend.make_activation(num_rows, shape.num_heads * shape.head_dim);
  KvCacheView cache{.data = nullptr,
                    .type = default_kv_type(backend.compute()),
                    .num_blocks = kNumBlocks * num_segments,
                    .num_layers = 1,
                    .num_kv_heads = shape.num_kv_heads,
                    .head_dim = shape.head_dim};
  const auto num_layers =
      static_cast<int>(1 + least_bytes / static_cast<size_t>(cache.block_bytes() * cache.num_blocks));
  cache.num_layers = num_layers;
  const auto memory = backend.allocate(static_cast<size_t>(cache.block_bytes() * cache.num_blocks));
  cache.data = memory->data();
  std::vector<int32_t> blocks(static_cast<size_t>(cache.num_blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));  // as sequences get them after a while
  AttentionPlan plan{
      .num_heads = shape.num_heads, .num_kv_heads = shape.num_kv_heads, .head_dim = shape.head_dim, .scale = 0.125f};
  for (int head = 0; head < shape.num_heads; ++head)
    plan.kv_head_of_head.push_back(head / (shape.num_heads / shape.num_kv_heads));
  const auto rope = backend.make_rope({.rotary_dim = shape.head_dim, .max_positions = kAttentionContext});
  plan.rope_style = RopeStyle::halves;
  plan.rope = rope.get();
  const int first = kAttentionContext - rows_of_segment;
  std::vector<Segment> segments;
  for (int i = 0; i < num_segments; ++i) {
    segments.push_back({.first_row = i * rows_of_segment,
                        .num_rows = rows_of_segment,
                        .first_position = first,
                        .blocks = std::span(blocks).subspan(static_cast<size_t>(i * kNumBlocks), kNumBlocks)});
  }
  const Matrix rows{reinterpret_cast<float*>(qkv->data()), num_rows, width, width};
  std::memset(memory->data(), 0, memory->size_bytes());
  const double rope_s = seconds_of([&] {
    for (int layer = 0; layer < num_layers; ++layer) backend.rope_and_cache(rows, segments, plan, cache, layer);
  });
  const double attention_s = seconds_of([&] {
    for (int layer = 0; layer < num_layers; ++layer) backend.attention(rows, segments, plan, cache, layer, *out);
  });
  const double keys = first + (rows_of_segment + 1) / 2.0;
  const double row_layers = static_cast<double>(num_layers) * num_rows;
  return {.operations_per_s = 2 * 2 * row_layers * keys * shape.num_heads * shape.head_dim / attention_s,
          .rows_per_s = row_layers / rope_s};
}

/// Two threads as ranks of one host.
LinkRate measure_link() {
  constexpr int kRounds = 200;
  constexpr size_t kSmall = size_t{4} << 10, kLarge = size_t{64} << 10;
  const auto group = make_local_group(2);
  const auto gather = [&](Communicator& communicator, size_t num_bytes) {
    std::vector<std::byte> mine(num_bytes), theirs(num_bytes);
    std::vector<std::span<std::byte>> out(2);
    out[static_cast<size_t>(communicator.rank())] = mine;
    out[static_cast<size_t>(1 - communicator.rank())] = theirs;
    for (int i = 0; i < kRounds; ++i) communicator.all_gather(mine, out);
  };
  const auto seconds = [&](size_t num_bytes) {
    return seconds_of([&] {
             std::thread peer([&] { gather(*group[1], num_bytes); });
             gather(*group[0], num_bytes);
             peer.join();
           }) /
           kRounds;
  };
  const double small = seconds(kSmall), large = seconds(kLarge);
  const double bytes_per_s = static_cast<double>(kLarge - kSmall) / std::max(large - small, 1e-9);
  return {.bytes_per_s = bytes_per_s, .latency_s = std::max(small - static_cast<double>(kSmall) / bytes_per_s, 0.0)};
}

/// As models have them: four bits with a minimum under int8, else floats of two bytes.
Coding coding_of(Compute compute) {
  if (compute == Compute::int8)
    return {.kind = Coding::Kind::u4, .group = 32, .has_minimum = true, .scales_fit_f16 = true};
  return {.kind = Coding::Kind::floats, .float_kind = Coding::FloatKind::bf16};
}

std::unique_ptr<Backend> backend_of(Compute compute, CpuIsa isa, int num_threads) {
  return make_cpu_backend({.compute = compute, .num_threads = num_threads, .isa = isa});
}

}  // namespace

size_t CeilingMeasurement::bytes_needed(int num_threads) {
  return read_bytes(num_threads) * static_cast<size_t>(num_threads);
}

void CeilingMeasurement::step() {
  const auto keep = [](double& best, double now) { best = std::max(best, now); };
  const auto backend = [&](Compute compute) { return backend_of(compute, isa_, num_threads_); };
  const auto products = [&](Compute compute) {
    RowRate& best = best_.products[static_cast<size_t>(compute)];
    best = std::max(best.most(), most_product_rate(*backend(compute), coding_of(compute), LayerShape()));
  };
  switch (num_steps_done_++ % kNumSteps) {
    case 0:
      return keep(best_.bytes_per_s, read_rate(*backend(Compute::int8)));
    case 1:
      return products(Compute::int8);
    case 2:
      return products(Compute::bf16);
    case 3:
      return products(Compute::f32);
    case 4:
      return keep(best_.attention,
                  attention_speed(*backend(Compute::int8), LayerShape(), 1, kAttentionRows, 0).operations_per_s);
  }
}

Device measure_host(const HostCeilingOptions& options) {
  const auto measure = [&](int num_threads) {
    CeilingMeasurement measurement(options.isa, num_threads);
    while (measurement.num_steps_done() < CeilingMeasurement::kNumSteps) measurement.step();
    Ceiling ceiling = measurement.best();
    for (const Compute compute : {Compute::int8, Compute::bf16, Compute::f32}) {
      const auto backend = backend_of(compute, options.isa, num_threads);
      ceiling.products[static_cast<size_t>(compute)] = product_rates(*backend, coding_of(compute), options.layer);
    }
    const auto backend = backend_of(Compute::int8, options.isa, num_threads);
    const AttentionSpeed prompt = attention_speed(*backend, options.layer, 1, kAttentionRows, 0);
    const AttentionSpeed decode = attention_speed(*backend, options.layer, kDecodes, 1, kColdBytes);
    ceiling.attention = prompt.operations_per_s;
    ceiling.prompt_rows_per_s = prompt.rows_per_s;
    ceiling.decode_attention = decode.operations_per_s;
    ceiling.decode_rows_per_s = decode.rows_per_s;
    return ceiling;
  };
  const int num_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  Device device{.name = "cpu",
                .description = fmt::format("this host: {} processors, {}", num_cores, to_string(options.isa)),
                .source = "measured now with the kernels that serve; the network is taken as 10 Gbit/s Ethernet",
                .memory_bytes = 0,
                .kv_share = kHostKvShare,
                .rank = measure(options.threads_per_rank),
                .host = {},
                .within_host = measure_link(),
                .between_hosts = kEthernet,
                .layer_latency_s = kLayerLatency,
                .batch_latency_s = kBatchLatency,
                .ranks_per_host = options.ranks_per_host};
  device.host = options.threads_per_rank == num_cores ? device.rank : measure(num_cores);
  return device;
}

}  // namespace echelon
