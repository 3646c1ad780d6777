// How fast are the products with weights? Shapes of SmolLM2-135M, every row count from one stream to a prefill, one
// thread, against what this core reads and multiplies at best (measured first, in the same process). Run alone:
// products_bench [--benchmark_filter=...].
//
// tax/...: what the one order of additions costs. The same products, once with the leaves of the reduction tree (9 for
// the attention's output, 24 for the MLP's) and once as one sum over all columns, in turn; medians of at least seven
// pairs. What several ranks do beside that, exchanging slots and adding them, is not in it.
//
// Counters: GMAC/s = rows * weights / time; of_dot = its share of the int8 dot peak of the instruction set's own
// instruction; of_inner = of its inner loop of 4-bit weights with scales and minimums, from registers; GB/s = packed
// weight bytes / time; of_read = its share of the read loop.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmarks/ceilings.h"
#include "kernels/base/limits.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/float_environment.h"
#include "kernels/cpu/products.h"
#include "kernels/reduction_tree.h"

namespace echelon::cpu {
namespace {

/// A matrix of cheap pseudo-random codes: the rate does not depend on the values.
class BenchMatrix final : public MatrixSource {
 public:
  BenchMatrix(int64_t rows, int64_t cols, const Coding& coding) : rows_(rows), cols_(cols), coding_(coding) {}
  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Coding coding() const override { return coding_; }
  void read_floats(int64_t row, int64_t first_col, std::span<float> out) const override {
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>((row * 31 + first_col + static_cast<int64_t>(i) * 7) % 64) * 0.0625f;
  }
  void read_quantized(int64_t row, int64_t first_col, QuantizedRow out) const override {
    const int mask = coding_.kind == Coding::Kind::u4 ? 15 : 255;
    for (size_t i = 0; i < out.codes.size(); ++i) {
      out.codes[i] = static_cast<uint8_t>((row * 31 + first_col + static_cast<int64_t>(i) * 7) & mask);
    }
    std::fill(out.scales.begin(), out.scales.end(), 0.0078125f);
    if (coding_.has_minimum) std::fill(out.minimums.begin(), out.minimums.end(), -0.0625f);
  }

 private:
  int64_t rows_, cols_;
  Coding coding_;
};

/// Processor time of this thread: what others on the machine take does not count.
double seconds_now() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// The best of several runs: this is a ceiling, and the machine may be shared.
template <class F>
double best_seconds(int runs, F&& f) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const double begin = seconds_now();
    f();
    best = std::min(best, seconds_now() - begin);
  }
  return best;
}

struct Ceilings {
  double dot_gmacs[4] = {}, inner_gmacs[4] = {};  ///< by CpuIsa
  double read_gbs = 0;
};

const Ceilings& ceilings() {
  static const Ceilings measured = [] {
    Ceilings c;
    constexpr int64_t kRounds = 2'000'000;
    for (const CpuIsa isa : {CpuIsa::avx2, CpuIsa::avx512, CpuIsa::avx512_vnni}) {
      if (!has_isa(isa)) continue;
      const double seconds = best_seconds(10, [isa] { bench::run_dots(isa, kRounds); });
      c.dot_gmacs[static_cast<int>(isa)] =
          static_cast<double>(bench::kDotsARound * bench::macs_of_dot(isa) * kRounds) / seconds * 1e-9;
      constexpr int64_t kInnerRounds = 200'000;
      c.inner_gmacs[static_cast<int>(isa)] = static_cast<double>(bench::macs_of_inner_loop(isa) * kInnerRounds) /
                                             best_seconds(10, [isa] { bench::run_inner_loop(isa, kInnerRounds); }) *
                                             1e-9;
    }
    const AlignedMemory memory(size_t{128} << 20);
    std::fill_n(memory.data(), memory.size_bytes(), std::byte{1});
    if (has_isa(CpuIsa::avx2)) {
      c.read_gbs = static_cast<double>(memory.size_bytes()) /
                   best_seconds(20, [&] { bench::read_all(memory.data(), memory.size_bytes()); }) * 1e-9;
    }
    fmt::print(
        "ceilings, one thread, G MAC/s (inner loop): vpdpbusd {:.0f} ({:.0f}), vpmaddubsw+vpaddw 512 bits {:.0f} "
        "({:.0f}), 256 bits {:.0f} ({:.0f}); read {:.1f} GB/s\n",
        c.dot_gmacs[3], c.inner_gmacs[3], c.dot_gmacs[2], c.inner_gmacs[2], c.dot_gmacs[1], c.inner_gmacs[1],
        c.read_gbs);
    return c;
  }();
  return measured;
}

/// The products of one layer of SmolLM2-135M, repeated over as many layers as 90 MB of weights need: nothing stays in a
/// cache.
class Layers {
 public:
  static constexpr int kNumLayers = 30;
  struct Shape {
    int64_t features, cols;
    int num_leaves;
  };
  static constexpr Shape kShapes[] = {{960, 576, 1}, {576, 576, 9}, {3072, 576, 1}, {576, 1536, 24}};

  enum Order { kTree, kOneLeaf, kNumOrders };

  /// `orders`: which weights are packed. They share activations and outputs.
  Layers(const Coding& coding, Compute compute, CpuIsa isa, int64_t rows, std::initializer_list<Order> orders = {kTree})
      : threads_(1), kernels_(product_kernels(isa)), rows_(rows) {
    for (const Shape& shape : kShapes) {
      for (const Order order : orders) pack(shape, order, coding, compute);
      const ActivationForm form =
          weights_[kTree].back()->is_quantized() ? ActivationForm::int8 : ActivationForm::floats;
      activations_.push_back(std::make_unique<CpuActivation>(rows, shape.cols, form, kernels_));
      std::vector<float> x(static_cast<size_t>(shape.cols));
      std::mt19937 random(1);
      activations_.back()->set_rows(rows);
      for (int64_t r = 0; r < rows; ++r) {
        for (float& value : x) value = std::normal_distribution<float>()(random);
        activations_.back()->write_row(r, 0, x.data(), shape.cols);
      }
      outs_.emplace_back(static_cast<size_t>(rows * shape.features));
    }
  }

  void run(Order order = kTree) {
    for (int layer = 0; layer < kNumLayers; ++layer) {
      for (size_t s = 0; s < std::size(kShapes); ++s) {
        const CpuPackedMatrix& weight = *weights_[order][s * kNumLayers + static_cast<size_t>(layer)];
        linear(kernels_, threads_, *activations_[s], rows_, weight, nullptr,
               {outs_[s].data(), rows_, weight.rows(), weight.rows()}, 0);
      }
    }
  }

  double macs() const {
    double total = 0;
    for (const auto& weight : weights_[kTree]) total += static_cast<double>(rows_ * weight->rows() * weight->cols());
    return total;
  }
  double bytes() const {
    double total = 0;
    for (const auto& weight : weights_[kTree]) total += static_cast<double>(weight->size_bytes());
    return total;
  }

 private:
  void pack(const Shape& shape, Order order, const Coding& coding, Compute compute) {
    const BenchMatrix source(shape.features, shape.cols, coding);
    PackPlan plan{.rows = {{&source, 0, shape.features}}, .first_col = 0, .leaves = {}};
    const int64_t grain = order == kOneLeaf || shape.num_leaves == 1 ? shape.cols : kMlpGrain;
    const ReductionTree tree(shape.cols / grain, 1);
    for (const ReductionTree::Leaf& leaf : tree.leaves(0)) {
      plan.leaves.push_back({.num_cols = leaf.num_grains * grain, .merges = leaf.merges, .slot = leaf.slot});
    }
    for (int layer = 0; layer < kNumLayers; ++layer) {
      weights_[order].push_back(pack_matrix(plan, compute, memory_, threads_));
    }
  }

  ThreadPool threads_;
  const ProductKernels& kernels_;
  int64_t rows_;
  ChunkedMemory memory_;
  std::vector<std::unique_ptr<CpuPackedMatrix>> weights_[kNumOrders];
  std::vector<std::unique_ptr<CpuActivation>> activations_;
  std::vector<std::vector<float>> outs_;
};

void run_layers(benchmark::State& state, const Coding& coding, Compute compute, CpuIsa isa) {
  const Ceilings& c = ceilings();
  Layers layers(coding, compute, isa, state.range(0));
  layers.run();
  double best = 1e30;
  for (auto _ : state) {
    const double begin = seconds_now();
    layers.run();
    const double seconds = seconds_now() - begin;
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
  }
  const double gmacs = layers.macs() / best * 1e-9, gbs = layers.bytes() / best * 1e-9,
               dot = c.dot_gmacs[static_cast<int>(isa)], inner = c.inner_gmacs[static_cast<int>(isa)];
  state.counters["best_ms"] = best * 1e3;
  state.counters["GMAC/s"] = gmacs;
  state.counters["of_dot"] = dot > 0 ? gmacs / dot : 0;
  state.counters["of_inner"] = inner > 0 ? gmacs / inner : 0;
  state.counters["GB/s"] = gbs;
  state.counters["of_read"] = c.read_gbs > 0 ? gbs / c.read_gbs : 0;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Counters: medians of both times, and of the pairs' tree / one_leaf.
void order_tax(benchmark::State& state, const Coding& coding, CpuIsa isa) {
  constexpr size_t kLeastPairs = 7;
  constexpr double kLeastSeconds = 2;
  Layers layers(coding, Compute::int8, isa, state.range(0), {Layers::kTree, Layers::kOneLeaf});
  const auto seconds_of = [&layers](Layers::Order order) {
    const double begin = seconds_now();
    layers.run(order);
    return seconds_now() - begin;
  };
  seconds_of(Layers::kTree);
  seconds_of(Layers::kOneLeaf);
  std::vector<double> tree_s, one_leaf_s, ratios;
  for (auto _ : state) {
    for (double total = 0; total < kLeastSeconds || ratios.size() < kLeastPairs;) {
      tree_s.push_back(seconds_of(Layers::kTree));
      one_leaf_s.push_back(seconds_of(Layers::kOneLeaf));
      ratios.push_back(tree_s.back() / one_leaf_s.back());
      total += tree_s.back() + one_leaf_s.back();
    }
  }
  state.counters["tree_ms"] = 1e3 * median(tree_s);
  state.counters["one_leaf_ms"] = 1e3 * median(one_leaf_s);
  state.counters["ratio"] = median(ratios);
}

void pack_rate(benchmark::State& state, const Coding& coding, Compute compute) {
  ThreadPool threads(1);
  const BenchMatrix source(3072, 576, coding);
  const PackPlan plan{.rows = {{&source, 0, 3072}}, .first_col = 0, .leaves = {{576, 0, 0}}};
  ChunkedMemory memory;
  size_t bytes = 0;
  for (auto _ : state) bytes += pack_matrix(plan, compute, memory, threads)->size_bytes();
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
}

void quantize_row(benchmark::State& state, CpuIsa isa) {
  const int64_t cols = state.range(0);
  CpuActivation activation(8, cols, ActivationForm::int8, product_kernels(isa));
  activation.set_rows(8);
  const std::vector<float> x(static_cast<size_t>(cols), 0.75f);
  for (auto _ : state) activation.write_row(0, 0, x.data(), cols);
  state.SetItemsProcessed(state.iterations() * cols);
}

void register_all() {
  using enum Coding::Kind;
  const Coding u4_affine{.kind = u4, .has_minimum = true, .scales_fit_f16 = true},
      u8_symmetric{.kind = u8, .zero = 128, .scales_fit_f16 = true};
  const Coding u8_half{.kind = u8, .group = 16, .zero = 128}, as_bf16{.float_kind = Coding::FloatKind::bf16}, as_f32{};
  const struct {
    const char* name;
    Coding coding;
  } codings[] = {{"u4", u4_affine}, {"u8", u8_symmetric}, {"u8_group16", u8_half}, {"bf16", as_bf16}, {"f32", as_f32}};
  const char* const isas[] = {"portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16"};
  for (const auto& [name, coding] : codings) {
    for (int isa = 3; isa >= 0; --isa) {
      if (!has_isa(static_cast<CpuIsa>(isa))) continue;
      benchmark::RegisterBenchmark(fmt::format("layers/{}/{}", name, isas[isa]).c_str(), run_layers, coding,
                                   Compute::int8, static_cast<CpuIsa>(isa))
          ->ArgName("rows")
          ->Arg(1)
          ->Arg(4)
          ->Arg(8)
          ->Arg(32)
          ->Arg(128)
          ->Arg(512)
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->MinTime(0.3);
    }
    benchmark::RegisterBenchmark(fmt::format("pack/{}", name).c_str(), pack_rate, coding, Compute::int8);
  }
  const CpuIsa best_isa = available_isas().back();
  for (const auto& [name, coding] : {std::pair{"u4", u4_affine}, std::pair{"u8", u8_symmetric}}) {
    benchmark::RegisterBenchmark(fmt::format("tax/{}/{}", name, isas[static_cast<int>(best_isa)]).c_str(), order_tax,
                                 coding, best_isa)
        ->ArgName("rows")
        ->Arg(1)
        ->Arg(4)
        ->Arg(8)
        ->Arg(32)
        ->Arg(512)
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
  }
  for (int isa = 3; isa >= 0; --isa) {
    if (!has_isa(static_cast<CpuIsa>(isa))) continue;
    benchmark::RegisterBenchmark(fmt::format("quantize/{}", isas[isa]).c_str(), quantize_row, static_cast<CpuIsa>(isa))
        ->Arg(576)
        ->Arg(1536);
  }
}

}  // namespace
}  // namespace echelon::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  echelon::cpu::register_all();
  const echelon::cpu::FloatEnvironment environment;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
