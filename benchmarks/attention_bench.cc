// How fast is attention? Shapes of SmolLM2-135M (9 query heads, 3 KV heads of 64, bf16 cache, blocks dealt out at
// random): decode of 1 and 32 sequences, prefill of 512 and 2048, against what this core reads and multiplies at best
// (measured first, in the same process). Run alone: attention_bench [--benchmark_filter=...].
//
// One iteration is one layer; layers are taken in turn so that decode finds its cache in memory, not in L3. Times of
// one thread are processor time, of more threads wall time. Counters: GB/s = bytes of K and V that the queries see /
// time; of_read = its share of the read loop (one thread); GMAC/s = multiply-adds of q K and p V over visible keys /
// time; of_fma = its share of the peak of float32 fma of AVX-512 (one thread); bf16 dots reach twice that peak.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <immintrin.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/limits.h"
#include "kernels/cpu/cpu_isa.h"

namespace echelon::cpu {
namespace {

constexpr int kHeads = 9, kKvHeads = 3, kHeadDim = 64;

double now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class F>
double best_seconds(F&& f) {
  double best = 1e30;
  for (int i = 0; i < 10; ++i) {
    const double begin = now(CLOCK_THREAD_CPUTIME_ID);
    f();
    best = std::min(best, now(CLOCK_THREAD_CPUTIME_ID) - begin);
  }
  return best;
}

__attribute__((target("avx512f"))) void fma_loop(int64_t rounds) {
  __m512 acc[12];
  for (__m512& a : acc) a = _mm512_setzero_ps();
  __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512& a : acc) a = _mm512_fmadd_ps(a, x, y);
    asm volatile("" : "+v"(x), "+v"(y));
  }
  for (const __m512& a : acc) asm volatile("" ::"v"(a));
}

__attribute__((target("avx2"))) void read_all(const std::vector<uint8_t>& data) {
  __m256i acc[8];
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  for (size_t i = 0; i + 256 <= data.size(); i += 256) {
    for (size_t j = 0; j < 8; ++j) {
      acc[j] = _mm256_xor_si256(acc[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data.data() + i + 32 * j)));
    }
  }
  for (const __m256i& a : acc) asm volatile("" ::"x"(a));
}

struct Ceilings {
  double read_gbs = 0, fma_gmacs = 0;
};

const Ceilings& ceilings() {
  static const Ceilings measured = [] {
    Ceilings result;
    const std::vector<uint8_t> data(size_t{160} << 20, 1);
    result.read_gbs = static_cast<double>(data.size()) * 1e-9 / best_seconds([&] { read_all(data); });
    if (has_isa(CpuIsa::avx512)) {
      result.fma_gmacs = 12 * 16 * 1e6 * 1e-9 / best_seconds([] { fma_loop(1000000); });
    }
    fmt::print(stderr, "read loop {:.1f} GB/s, float32 fma {:.1f} G/s, one thread\n", result.read_gbs,
               result.fma_gmacs);
    return result;
  }();
  return measured;
}

struct Load {
  const char* name;
  int num_sequences, context, rows;  ///< rows of each sequence in a call; its last position is context - 1
  int num_layers;
};

constexpr Load kLoads[] = {{"decode/32x200", 32, 200, 1, 30},
                           {"decode/32x2000", 32, 2000, 1, 6},
                           {"decode/1x4096", 1, 4096, 1, 30},
                           {"prefill/512", 1, 512, 512, 2},
                           {"prefill/2048", 1, 2048, 2048, 2}};

void run(benchmark::State& state, const Load& load, CpuIsa isa, int num_threads) {
  ceilings();
  const auto backend = make_cpu_backend({.compute = Compute::int8, .num_threads = num_threads, .isa = isa});
  const int blocks_each = (load.context + kBlockTokens - 1) / kBlockTokens;
  KvCacheView cache{.num_blocks = int64_t{blocks_each} * load.num_sequences,
                    .num_layers = load.num_layers,
                    .num_kv_heads = kKvHeads,
                    .head_dim = kHeadDim};
  const auto memory = backend->allocate(static_cast<size_t>(cache.block_bytes() * cache.num_blocks));
  cache.data = memory->data();
  uint32_t bits = 1;
  auto* values = reinterpret_cast<uint16_t*>(cache.data);
  for (size_t i = 0; i < memory->size_bytes() / 2; ++i) {  // numbers of magnitude 1
    bits = bits * 1664525u + 1013904223u;
    values[i] = static_cast<uint16_t>(0x3f00u | (bits >> 16 & 0x80ffu));
  }
  std::vector<int32_t> blocks(cache.num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(3));
  std::vector<Segment> segments;
  for (int s = 0; s < load.num_sequences; ++s) {
    segments.push_back({.first_row = s * load.rows,
                        .num_rows = load.rows,
                        .first_position = load.context - load.rows,
                        .blocks = std::span(blocks).subspan(int64_t{s} * blocks_each, blocks_each)});
  }
  AttentionPlan plan{.num_heads = kHeads, .num_kv_heads = kKvHeads, .head_dim = kHeadDim, .scale = 0.125f};
  for (int h = 0; h < kHeads; ++h) plan.kv_head_of_head.push_back(h / 3);
  const int64_t rows = int64_t{load.num_sequences} * load.rows, cols = (kHeads + 2 * kKvHeads) * kHeadDim;
  std::vector<float> qkv(rows * cols);
  for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = static_cast<float>(static_cast<int>(i * 7919 % 256) - 128) * 0.01f;
  const Matrix matrix{.data = qkv.data(), .rows = rows, .cols = cols, .stride = cols};
  const auto out = backend->make_activation(rows, kHeads * kHeadDim);

  const clockid_t clock = num_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  int layer = 0;
  double seconds = 0;
  for (auto iteration : state) {
    const double begin = now(clock);
    backend->attention(matrix, segments, plan, cache, layer, *out);
    const double spent = now(clock) - begin;
    state.SetIterationTime(spent);
    seconds += spent;
    layer = (layer + 1) % load.num_layers;
  }
  const double calls = static_cast<double>(state.iterations());
  const double gbytes = 1e-9 * load.num_sequences * load.context * 2 * 2 * kHeadDim * kKvHeads * calls;
  double keys = 0;
  for (int r = 0; r < load.rows; ++r) keys += load.context - r;
  const double gmacs = 1e-9 * load.num_sequences * keys * 2 * kHeadDim * kHeads * calls;
  if (load.rows == 1) {
    state.counters["GB/s"] = gbytes / seconds;
    if (num_threads == 1) state.counters["of_read"] = gbytes / seconds / ceilings().read_gbs;
  } else {
    state.counters["GMAC/s"] = gmacs / seconds;
    if (num_threads == 1 && ceilings().fma_gmacs > 0) state.counters["of_fma"] = gmacs / seconds / ceilings().fma_gmacs;
  }
}

void add_benchmarks() {
  for (CpuIsa isa : {CpuIsa::avx2, CpuIsa::avx512, CpuIsa::avx512_bf16}) {
    if (!has_isa(isa)) continue;
    for (int num_threads : {1, 2}) {
      for (const Load& load : kLoads) {
        const std::string name = fmt::format("{}/{}/{}T", load.name, to_string(isa), num_threads);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, load, isa, num_threads); })
            ->UseManualTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace
}  // namespace echelon::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  echelon::cpu::add_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
