// Shared by the tests of single operations: instruction sets as parameters, random rows, comparison of bits.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/activation.h"
#include "kernels/cpu/cpu_isa.h"

namespace echelon::cpu {

/// A test that runs on every instruction set; what this machine lacks is skipped by name.
class IsaTest : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this processor lacks " << to_string(GetParam());
  }
  std::unique_ptr<Backend> backend(int num_threads = 1, Compute compute = Compute::f32) const {
    return make_cpu_backend({.compute = compute, .num_threads = num_threads, .isa = GetParam()});
  }
  const OpKernels& kernels() const { return op_kernels(GetParam()); }
};

inline std::string isa_name(const testing::TestParamInfo<CpuIsa>& info) {
  std::string name(to_string(info.param));
  std::erase(name, '-');
  return name;
}

/// A float32 matrix with a stride of its own.
struct TestMatrix {
  int64_t rows, cols, stride;
  std::vector<float> values;
  TestMatrix(int64_t num_rows, int64_t num_cols, int64_t padding = 0)
      : rows(num_rows), cols(num_cols), stride(num_cols + padding), values(static_cast<size_t>(num_rows * stride)) {}
  operator Matrix() { return {.data = values.data(), .rows = rows, .cols = cols, .stride = stride}; }
  float* row(int64_t r) { return values.data() + r * stride; }
};

inline void fill_normal(std::vector<float>& values, uint64_t seed, float deviation = 1.0f) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal(0, deviation);
  for (float& value : values) value = normal(generator);
}

/// What an activation of Compute::f32 holds.
inline std::vector<float> rows_of(const Activation& activation) {
  const auto& cpu_activation = static_cast<const CpuActivation&>(activation);
  std::vector<float> values;
  for (int64_t r = 0; r < cpu_activation.rows(); ++r) {
    const float* row = cpu_activation.float_row(r);
    values.insert(values.end(), row, row + cpu_activation.cols());
  }
  return values;
}

inline int64_t num_different(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return -1;
  int64_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]);
  return different;
}

}  // namespace echelon::cpu
