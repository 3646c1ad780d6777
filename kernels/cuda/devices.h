// The CUDA of this build and the devices of this machine. From devices.cc and self_test.cu where the build found a
// toolkit, else from absent.cc; callers see no difference. A missing driver or device is an answer, never an error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace echelon {

struct CudaDevice {
  int index = 0;  ///< as CUDA counts what CUDA_VISIBLE_DEVICES shows
  std::string name;
  int sm_major = 0, sm_minor = 0;  ///< compute capability: 9 and 0 for an H200
  int64_t memory_bytes = 0;        ///< all of it, in use or not
};

/// "CUDA 13.0", or "not compiled in".
std::string cuda_build();

/// What the driver says, for people: "driver for CUDA 13.0", or why it offers no device. The first call may take a
/// second on a machine with devices; none is reserved.
std::string cuda_driver();

/// Ascending by index; empty without a driver or a device. No context is made on a device. Throws Error where a device
/// is there and the driver cannot describe it. Any thread.
std::vector<CudaDevice> cuda_devices();

/// Runs a kernel on device `index` and compares 100,003 values of it with the host, bit by bit: float32 to bfloat16 and
/// back, a * b + c in two roundings, and fma. Throws Error that names the device and what differs or failed, or says
/// that the build has no CUDA. Makes a context there (about 0.5 GB, until the process ends). Any thread.
void cuda_self_test(int index);

}  // namespace echelon
