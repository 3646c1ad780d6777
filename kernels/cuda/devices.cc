// What CUDA's runtime tells about driver and devices. The runtime is linked statically and opens the driver itself, so
// that the binary starts on machines without one.
#include "kernels/cuda/devices.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstring>

#include "kernels/base/error.h"

namespace echelon {
namespace {

std::string version_text(int version) { return fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10); }

}  // namespace

std::string cuda_build() { return version_text(CUDART_VERSION); }

std::string cuda_driver() {
  int version = 0, num_devices = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) return "no driver";
  const cudaError_t error = cudaGetDeviceCount(&num_devices);
  const std::string driver = "driver for " + version_text(version);
  return error == cudaSuccess ? driver : fmt::format("{}: {}", driver, cudaGetErrorString(error));
}

std::vector<CudaDevice> cuda_devices() {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // the runtime would hand this answer to the next call
    return {};
  }
  std::vector<CudaDevice> devices;
  for (int index = 0; index < num_devices; ++index) {
    cudaDeviceProp properties{};
    const cudaError_t error = cudaGetDeviceProperties(&properties, index);
    if (error != cudaSuccess) {
      throw Error(Part::kernels, fmt::format("CUDA device {} of {} cannot be described: {}", index, num_devices,
                                             cudaGetErrorString(error)));
    }
    devices.push_back({.index = index,
                       .name = {properties.name, strnlen(properties.name, sizeof properties.name)},
                       .sm_major = properties.major,
                       .sm_minor = properties.minor,
                       .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return devices;
}

}  // namespace echelon
