// What the tests of the products share: matrices made from a seed, the frozen definition in scalar code, a double
// reference.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/half.h"
#include "kernels/base/limits.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/float_environment.h"
#include "kernels/cpu/products.h"

namespace echelon::cpu {

inline std::string name_of(CpuIsa isa) {
  const char* const names[] = {"portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

/// A matrix with every code of its coding in use; scales and minimums of either sign.
class SeededMatrix final : public MatrixSource {
 public:
  SeededMatrix(int64_t rows, int64_t cols, const Coding& coding, uint64_t seed)
      : rows_(rows), cols_(cols), coding_(coding) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.05f);
    const int64_t values = rows * cols;
    if (coding.kind == Coding::Kind::floats) {
      for (int64_t i = 0; i < values; ++i) floats_.push_back(as_stored(normal(random), coding.float_kind));
      return;
    }
    const unsigned top = coding.kind == Coding::Kind::u4 ? 15u : 255u;
    for (int64_t i = 0; i < values; ++i) codes_.push_back(static_cast<uint8_t>(random() & top));
    for (int64_t i = 0; i < values / coding.group; ++i) {
      const auto fit = [&](float x) { return coding.scales_fit_f16 ? f16_to_float(float_to_f16(x)) : x; };
      scales_.push_back(fit(normal(random)));
      minimums_.push_back(coding.has_minimum ? fit(normal(random)) : 0.0f);
    }
  }

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  Coding coding() const override { return coding_; }
  float scale(int64_t row, int64_t col) const {
    return scales_[static_cast<size_t>((row * cols_ + col) / coding_.group)];
  }
  float minimum(int64_t row, int64_t col) const {
    return minimums_[static_cast<size_t>((row * cols_ + col) / coding_.group)];
  }
  int code(int64_t row, int64_t col) const { return codes_[static_cast<size_t>(row * cols_ + col)] - coding_.zero; }
  float value(int64_t row, int64_t col) const {
    if (coding_.kind == Coding::Kind::floats) return floats_[static_cast<size_t>(row * cols_ + col)];
    return scale(row, col) * static_cast<float>(code(row, col)) + minimum(row, col);
  }

  void read_floats(int64_t row, int64_t first_col, std::span<float> out) const override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = value(row, first_col + static_cast<int64_t>(i));
  }
  void read_quantized(int64_t row, int64_t first_col, QuantizedRow out) const override {
    for (size_t i = 0; i < out.codes.size(); ++i) {
      const int64_t col = first_col + static_cast<int64_t>(i);
      out.codes[i] = codes_[static_cast<size_t>(row * cols_ + col)];
      out.scales[i / static_cast<size_t>(coding_.group)] = scale(row, col);
      if (coding_.has_minimum) out.minimums[i / static_cast<size_t>(coding_.group)] = minimum(row, col);
    }
  }

 private:
  static float as_stored(float x, Coding::FloatKind kind) {
    if (kind == Coding::FloatKind::bf16) return bf16_to_float(float_to_bf16(x));
    if (kind == Coding::FloatKind::f16) return f16_to_float(float_to_f16(x));
    return x;
  }

  int64_t rows_, cols_;
  Coding coding_;
  std::vector<uint8_t> codes_;
  std::vector<float> scales_, minimums_, floats_;
};

/// Every coding of the formats we read, and the others that a MatrixSource may have.
inline std::vector<Coding> all_codings() {
  std::vector<Coding> codings;
  for (bool f16 : {true, false}) {
    using enum Coding::Kind;
    codings.push_back({.kind = u4, .has_minimum = true, .scales_fit_f16 = f16});       // Q4_1, Q4_K
    codings.push_back({.kind = u4, .zero = 8, .scales_fit_f16 = f16});                 // Q4_0
    codings.push_back({.kind = u4, .scales_fit_f16 = f16});                            // neither
    codings.push_back({.kind = u4, .group = 16, .zero = 8, .scales_fit_f16 = f16});    // kept as u8
    codings.push_back({.kind = u8, .has_minimum = true, .scales_fit_f16 = f16});       // Q5_1, Q5_K
    codings.push_back({.kind = u8, .zero = 128, .scales_fit_f16 = f16});               // Q8_0, Q5_0
    codings.push_back({.kind = u8, .group = 16, .zero = 128, .scales_fit_f16 = f16});  // Q6_K
    codings.push_back({.kind = u8, .group = 16, .has_minimum = true, .scales_fit_f16 = f16});
  }
  for (auto kind : {Coding::FloatKind::f32, Coding::FloatKind::f16, Coding::FloatKind::bf16})
    codings.push_back({.float_kind = kind});
  return codings;
}

inline std::string describe(const Coding& c) {
  if (c.kind == Coding::Kind::floats) return "floats " + std::to_string(static_cast<int>(c.float_kind));
  return std::string(c.kind == Coding::Kind::u4 ? "u4" : "u8") + " group " + std::to_string(c.group) + " zero " +
         std::to_string(c.zero) + (c.has_minimum ? " minimum" : "") + (c.scales_fit_f16 ? " f16" : " f32");
}

/// Rows [rows][cols] of activations: normal values with rows of extremes among them.
inline std::vector<float> seeded_rows(int64_t rows, int64_t cols, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> x(static_cast<size_t>(rows * cols));
  for (float& value : x) value = normal(random);
  return x;
}

/// One row of each awkward kind.
inline std::vector<float> extreme_rows(int64_t cols, int64_t* num_rows) {
  std::vector<float> x;
  const auto add_row = [&](auto value) {
    for (int64_t k = 0; k < cols; ++k) x.push_back(value(k));
  };
  const auto wave = [](int64_t k) { return static_cast<float>(k % 13) - 6.0f; };
  add_row([](int64_t) { return 0.0f; });
  add_row([](int64_t k) { return k % 2 ? -0.0f : 0.0f; });
  add_row([](int64_t) { return 1.0f; });
  add_row([](int64_t) { return -3.25f; });
  add_row([](int64_t k) { return k == 7 ? 1e6f : 1e-3f; });  // one outlier
  add_row([&](int64_t k) { return wave(k) * 1e-39f; });      // subnormal
  add_row([&](int64_t k) { return wave(k) * 2e-38f; });      // its scale would be subnormal
  add_row([&](int64_t k) { return wave(k) * 3e-37f; });      // around the smallest scale
  add_row([&](int64_t k) { return wave(k) * 1e30f; });
  add_row([&](int64_t k) { return wave(k) * 5e37f; });  // sums overflow
  add_row([](int64_t k) { return k % 2 ? std::numeric_limits<float>::max() : -std::numeric_limits<float>::max(); });
  add_row([&](int64_t k) { return k == 3 ? std::numeric_limits<float>::infinity() : wave(k); });
  add_row([&](int64_t k) { return k == cols - 1 ? std::numeric_limits<float>::quiet_NaN() : wave(k); });
  add_row([&](int64_t k) { return std::ldexp(wave(k) + 0.5f, static_cast<int>(k % 60) - 30); });
  add_row([](int64_t k) { return static_cast<float>(k % 255) - 127.0f; });  // halves between codes, largest exactly 127
  *num_rows = static_cast<int64_t>(x.size()) / std::max<int64_t>(cols, 1);
  return x;
}

/// Equal bits, or both NaN (which NaN is not part of the promise).
inline bool same_bits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

inline void expect_same_bits(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(same_bits(got[i], want[i]))
        << what << ": element " << i << " is " << got[i] << ", expected " << want[i];
  }
}

struct QuantizedRows {
  std::vector<int> codes;     ///< [rows][cols]
  std::vector<float> scales;  ///< [rows][groups up]
};

/// The definition of activation.h in scalar code.
inline QuantizedRows quantize_by_definition(const std::vector<float>& x, int64_t rows, int64_t cols) {
  QuantizedRows result;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t first = 0; first < cols; first += 32) {
      uint32_t largest = 0;
      const int64_t end = std::min<int64_t>(first + 32, cols);
      for (int64_t k = first; k < end; ++k) {
        largest = std::max(largest, std::bit_cast<uint32_t>(x[static_cast<size_t>(r * cols + k)]) & 0x7fffffffu);
      }
      const float m = std::bit_cast<float>(largest);
      const bool zero = m < 0x1p-119f;
      const float inverse = zero ? 0.0f : 127.0f / m;
      result.scales.push_back(zero ? 0.0f : m / 127.0f);
      for (int64_t k = first; k < end; ++k) {
        float scaled = x[static_cast<size_t>(r * cols + k)] * inverse;
        scaled = scaled < 127.0f ? scaled : 127.0f;
        scaled = scaled > -127.0f ? scaled : -127.0f;
        result.codes.push_back(static_cast<int>(std::nearbyint(scaled)));
      }
    }
  }
  return result;
}

/// One leaf of one output element by the frozen definition (head of products_kernels.h). `row` is of the weight.
inline float integer_leaf(const SeededMatrix& w, int64_t row, int64_t first_col, int64_t num_cols, const int* codes,
                          const float* scales) {
  const int group = w.coding().group;
  float acc = 0.0f;
  for (int64_t k = 0; k < num_cols; k += group) {
    int dot = 0, sum = 0;
    for (int64_t i = k; i < k + group; ++i) {
      dot += w.code(row, first_col + i) * codes[i];
      sum += codes[i];
    }
    const float d_a = scales[k / 32];
    acc = std::fma(static_cast<float>(dot), w.scale(row, first_col + k) * d_a, acc);
    if (w.coding().zero == 0) acc = std::fma(w.minimum(row, first_col + k), d_a * static_cast<float>(sum), acc);
  }
  return acc;
}

inline float float_leaf(const std::vector<float>& w, const float* x) {
  float chain[2] = {0.0f, 0.0f};
  for (size_t k = 0; k < w.size(); ++k) chain[k % 2] = std::fma(x[k], w[k], chain[k % 2]);
  return chain[0] + chain[1];
}

/// Weights of a float product as the backend holds them.
inline std::vector<float> held_floats(const SeededMatrix& w, Compute compute, int64_t row, int64_t first_col,
                                      int64_t num_cols) {
  std::vector<float> values(static_cast<size_t>(num_cols));
  w.read_floats(row, first_col, values);
  if (compute == Compute::bf16) {
    for (float& value : values) value = bf16_to_float(float_to_bf16(value));
  }
  return values;
}

inline PackPlan whole(const SeededMatrix& w) {
  return {.rows = {{&w, 0, w.rows()}}, .first_col = 0, .leaves = {{.num_cols = w.cols(), .merges = 0, .slot = 0}}};
}

/// Packs, quantises and multiplies with one instruction set. Returns [slot][row][feature]; checks that nothing else was
/// written.
inline std::vector<float> run_linear(CpuIsa isa, int num_threads, const PackPlan& plan, Compute compute,
                                     const std::vector<float>& x, int64_t rows, const float* bias = nullptr) {
  ThreadPool threads(num_threads, ThreadPool::Waiting::sleep);
  ChunkedMemory memory;
  const ProductKernels& kernels = product_kernels(isa);
  const auto weight = pack_matrix(plan, compute, memory, threads);
  const int64_t cols = weight->cols(), features = weight->rows();
  CpuActivation activation(rows, cols, weight->is_quantized() ? ActivationForm::int8 : ActivationForm::floats, kernels);
  activation.set_rows(rows);
  threads.parallel(static_cast<int>(rows), [&](int r) { activation.write_row(r, 0, x.data() + r * cols, cols); });

  constexpr float kUntouched = -12345.0f;
  const int64_t stride = features + 5, slot_stride = rows * stride + 3;
  std::vector<float> out(static_cast<size_t>(slot_stride * weight->num_slots()), kUntouched);
  linear(kernels, threads, activation, rows, *weight, bias, {out.data(), rows, features, stride}, slot_stride);
  std::vector<float> result;
  for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
    const int64_t in_slot = i % slot_stride, col = in_slot % stride;
    if (in_slot < rows * stride && col < features) {
      result.push_back(out[static_cast<size_t>(i)]);
    } else {
      EXPECT_EQ(out[static_cast<size_t>(i)], kUntouched) << "written outside the matrix at " << i;
    }
  }
  return result;
}

}  // namespace echelon::cpu
