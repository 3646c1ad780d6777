// Does a device compute float32 as ARCHITECTURE.md, "Numbers that do not move", needs it? One kernel, compared with the
// host bit by bit:  narrow = bfloat16(x), nearest even;  wide = float32(narrow);
//                   separate = x * x + wide, each step rounded (-fmad=false);  fused = fma(x, x, wide).
// Bytes moved: 4 in and 14 out for each of 100,003 values; the last block is not full.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/half.h"
#include "kernels/cuda/devices.h"

namespace echelon {
namespace {

constexpr int kNumValues = 100'003;
constexpr int kThreads = 256;

/// Device memory, [num_values] each.
struct SelfTestTask {
  const float* x;
  uint16_t* narrow;
  float* wide;
  float* separate;
  float* fused;
  int num_values;
};

__global__ void self_test_kernel(const __grid_constant__ SelfTestTask task) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= task.num_values) return;
  const float x = task.x[i];
  const __nv_bfloat16 narrow = __float2bfloat16_rn(x);
  const float wide = __bfloat162float(narrow);
  task.narrow[i] = __bfloat16_as_ushort(narrow);
  task.wide[i] = wide;
  task.separate[i] = x * x + wide;
  task.fused[i] = fmaf(x, x, wide);
}

/// The device is the thread's while this lives.
class DeviceScope {
 public:
  explicit DeviceScope(int index) : index_(index) {
    check(cudaGetDevice(&before_), "no current device");
    check(cudaSetDevice(index), "cannot be chosen");
  }
  ~DeviceScope() { static_cast<void>(cudaSetDevice(before_)); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

  void check(cudaError_t error, const char* what) const {
    if (error != cudaSuccess) fail(std::string(what) + ": " + cudaGetErrorString(error));
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Part::kernels, "CUDA device " + std::to_string(index_) + ": " + what);
  }

 private:
  int index_, before_ = 0;
};

template <typename T>
class DeviceArray {
 public:
  DeviceArray(const DeviceScope& device, int n) : device_(device), n_(n) {
    void* memory = nullptr;
    device_.check(cudaMalloc(&memory, n * sizeof(T)), "no memory");
    memory_.reset(static_cast<T*>(memory));
  }
  T* get() const { return memory_.get(); }
  void copy_from(const std::vector<T>& host) {
    device_.check(cudaMemcpy(get(), host.data(), n_ * sizeof(T), cudaMemcpyHostToDevice), "copy to the device");
  }
  std::vector<T> to_host() const {
    std::vector<T> host(n_);
    device_.check(cudaMemcpy(host.data(), get(), n_ * sizeof(T), cudaMemcpyDeviceToHost), "copy from the device");
    return host;
  }

 private:
  struct Free {
    void operator()(T* memory) const { static_cast<void>(cudaFree(memory)); }
  };
  const DeviceScope& device_;
  std::unique_ptr<T, Free> memory_;
  int n_;
};

/// Every sign and fraction, exponents -60 to 60: no square leaves the normal numbers.
std::vector<float> values_of_many_sizes() {
  std::vector<float> values(kNumValues);
  for (int i = 0; i < kNumValues; ++i) {
    const uint32_t mixed = static_cast<uint32_t>(i) * 0x9e3779b9u;
    const uint32_t exponent = 127 - 60 + static_cast<uint32_t>(i) % 121;
    values[i] = std::bit_cast<float>((mixed & 0x807fffffu) | exponent << 23);
  }
  return values;
}

template <typename T>
void expect_bits(const DeviceScope& device, const char* what, float x, T here, T there) {
  if (std::memcmp(&here, &there, sizeof here) == 0) return;
  device.fail("the self test's " + std::string(what) + " of " + std::to_string(x) + " is " + std::to_string(there) +
              ", the host's " + std::to_string(here));
}

}  // namespace

void cuda_self_test(int index) {
  const DeviceScope device(index);
  const std::vector<float> x = values_of_many_sizes();
  DeviceArray<float> inputs(device, kNumValues), wide(device, kNumValues), separate(device, kNumValues),
      fused(device, kNumValues);
  DeviceArray<uint16_t> narrow(device, kNumValues);
  inputs.copy_from(x);

  const SelfTestTask task{inputs.get(), narrow.get(), wide.get(), separate.get(), fused.get(), kNumValues};
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3((kNumValues + kThreads - 1) / kThreads);
  launch.blockDim = dim3(kThreads);
  device.check(cudaLaunchKernelEx(&launch, self_test_kernel, task), "the self test did not start");
  device.check(cudaDeviceSynchronize(), "the self test did not end");

  const std::vector<uint16_t> narrow_there = narrow.to_host();
  const std::vector<float> wide_there = wide.to_host(), separate_there = separate.to_host(),
                           fused_there = fused.to_host();
  for (int i = 0; i < kNumValues; ++i) {
    const uint16_t narrow_here = float_to_bf16(x[i]);
    const float wide_here = bf16_to_float(narrow_here), square = x[i] * x[i];
    expect_bits(device, "bfloat16", x[i], narrow_here, narrow_there[i]);
    expect_bits(device, "float32 of a bfloat16", x[i], wide_here, wide_there[i]);
    expect_bits(device, "product and sum", x[i], square + wide_here, separate_there[i]);
    expect_bits(device, "fma", x[i], std::fma(x[i], x[i], wide_here), fused_there[i]);
  }
}

}  // namespace echelon
