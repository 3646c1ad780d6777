// A build without a CUDA toolkit: no devices. Compiled instead of everything else in this folder.
#include "kernels/base/error.h"
#include "kernels/cuda/devices.h"

namespace echelon {

std::string cuda_build() { return "not compiled in"; }
std::string cuda_driver() { return "no driver looked for"; }
std::vector<CudaDevice> cuda_devices() { return {}; }

void cuda_self_test(int index) {
  throw Error(Part::kernels, "CUDA device " + std::to_string(index) + ": this build has no CUDA (ECHELON_CUDA)");
}

}  // namespace echelon
