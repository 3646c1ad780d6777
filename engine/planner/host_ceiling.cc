#include "engine/planner/host_ceiling.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <thread>

#include "engine/model/rank_memory.h"
#include "kernels/base/limits.h"
#include "parallel/local/local_group.h"

namespace echelon {
namespace {

/// Of each thread, and of all: more than last-level caches hold.
constexpr size_t kLeastReadBytes = size_t{16} << 20, kLeastReadOfAll = size_t{128} << 20;
constexpr int64_t kProductWidth = 1024;
constexpr int kAttentionRows = 256, kDecodes = 16, kAttentionContext = 512, kHeads = 8, kKvHeads = 2, kHeadDim = 64;
constexpr int kRepetitions = 4;
constexpr int64_t kFewRows = 64;  ///< in all, of products with fewer
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
  explicit EvenMatrix(Coding coding) : coding_(coding) {}
  int64_t rows() const override { return kProductWidth; }
  int64_t cols() const override { return kProductWidth; }
  Coding coding() const override { return coding_; }
  void read_floats(int64_t, int64_t, std::span<float> out) const override { std::fill(out.begin(), out.end(), 0.5f); }
  void read_quantized(int64_t, int64_t, QuantizedRow out) const override {
    std::fill(out.codes.begin(), out.codes.end(), uint8_t{3});
    std::fill(out.scales.begin(), out.scales.end(), 0.5f);
    if (coding_.has_minimum) std::fill(out.minimums.begin(), out.minimums.end(), -0.5f);
  }

 private:
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

/// Square products with weights of this coding.
RowRate product_rate(Backend& backend, const Coding& coding) {
  constexpr int64_t kMostRows = RowRate::kRows.back();
  const EvenMatrix source(coding);
  const auto weight = backend.pack({.rows = {{.source = &source, .first_row = 0, .num_rows = kProductWidth}},
                                    .first_col = 0,
                                    .leaves = {{.num_cols = kProductWidth, .merges = 0, .slot = 0}}});
  const auto in = backend.allocate(kMostRows * kProductWidth * sizeof(float));
  const auto out = backend.allocate(kMostRows * kProductWidth * sizeof(float));
  const auto norm = backend.allocate(kProductWidth * sizeof(float));
  const auto x = backend.make_activation(kMostRows, kProductWidth);
  const auto matrix = [&](Buffer& buffer, int64_t rows) {
    return Matrix{reinterpret_cast<float*>(buffer.data()), rows, kProductWidth, kProductWidth};
  };
  std::array<double, RowRate::kRows.size()> rates{};
  for (size_t i = 0; i < rates.size(); ++i) {
    const int64_t rows = RowRate::kRows[i], times = std::max<int64_t>(1, kFewRows / rows);
    backend.rms_norm(matrix(*in, rows), reinterpret_cast<const float*>(norm->data()), 1e-5f, *x);
    const double seconds = seconds_of([&] {
      for (int64_t each = 0; each < times; ++each) backend.linear(*x, rows, *weight, nullptr, matrix(*out, rows), 0);
    });
    rates[i] = 2.0 * static_cast<double>(rows * times) * kProductWidth * kProductWidth / seconds;
  }
  return RowRate(rates);
}

/// Operations per second of these segments, which share a cache of kAttentionContext keys.
double attention_rate(Backend& backend, int num_segments, int rows_of_segment) {
  constexpr int kWidth = (kHeads + 2 * kKvHeads) * kHeadDim;
  constexpr int64_t kNumBlocks = kAttentionContext / kBlockTokens;
  const int num_rows = num_segments * rows_of_segment;
  const auto qkv = backend.allocate(static_cast<size_t>(num_rows) * kWidth * sizeof(float));
  const auto out = backend.make_activation(num_rows, kHeads * kHeadDim);
  KvCacheView cache{.data = nullptr,
                    .type = default_kv_type(backend.compute()),
                    .num_blocks = kNumBlocks,
                    .num_layers = 1,
                    .num_kv_heads = kKvHeads,
                    .head_dim = kHeadDim};
  const auto memory = backend.allocate(static_cast<size_t>(cache.block_bytes() * kNumBlocks));
  cache.data = memory->data();
  std::vector<int32_t> blocks(kNumBlocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  AttentionPlan plan{.num_heads = kHeads, .num_kv_heads = kKvHeads, .head_dim = kHeadDim, .scale = 0.125f};
  for (int head = 0; head < kHeads; ++head) plan.kv_head_of_head.push_back(head / (kHeads / kKvHeads));
  const int first = kAttentionContext - rows_of_segment;
  std::vector<Segment> segments;
  for (int i = 0; i < num_segments; ++i) {
    segments.push_back(
        {.first_row = i * rows_of_segment, .num_rows = rows_of_segment, .first_position = first, .blocks = blocks});
  }
  const Matrix rows{reinterpret_cast<float*>(qkv->data()), num_rows, kWidth, kWidth};
  const double seconds = seconds_of([&] { backend.attention(rows, segments, plan, cache, 0, *out); });
  const double keys = first + (rows_of_segment + 1) / 2.0;
  return 2 * 2.0 * num_rows * keys * kHeads * kHeadDim / seconds;
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

}  // namespace

size_t CeilingMeasurement::bytes_needed(int num_threads) {
  return read_bytes(num_threads) * static_cast<size_t>(num_threads);
}

void CeilingMeasurement::step() {
  const auto keep = [](double& best, double now) { best = std::max(best, now); };
  const auto backend = [&](Compute compute) {
    return make_cpu_backend({.compute = compute, .num_threads = num_threads_, .isa = isa_});
  };
  const auto products = [&](Compute compute, const Coding& coding) {
    RowRate& best = best_.products[static_cast<size_t>(compute)];
    const RowRate now = product_rate(*backend(compute), coding);
    if (now.most() > best.most()) best = now;
  };
  constexpr Coding kFourBits{.kind = Coding::Kind::u4, .group = 32, .has_minimum = true, .scales_fit_f16 = true};
  constexpr Coding kFloats{.kind = Coding::Kind::floats, .float_kind = Coding::FloatKind::bf16};
  switch (num_steps_done_++ % kNumSteps) {
    case 0:
      return keep(best_.bytes_per_s, read_rate(*backend(Compute::int8)));
    case 1:
      return products(Compute::int8, kFourBits);
    case 2:
      return products(Compute::bf16, kFloats);
    case 3:
      return products(Compute::f32, kFloats);
    case 4: {
      const auto int8 = backend(Compute::int8);
      keep(best_.attention, attention_rate(*int8, 1, kAttentionRows));
      return keep(best_.decode_attention, attention_rate(*int8, kDecodes, 1));
    }
  }
}

Device measure_host(const HostCeilingOptions& options) {
  const auto measure = [&](int num_threads) {
    CeilingMeasurement measurement(options.isa, num_threads);
    while (measurement.num_steps_done() < CeilingMeasurement::kNumSteps) measurement.step();
    return measurement.best();
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
