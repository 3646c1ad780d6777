#include "launch/doctor/gpus.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace echelon {
namespace {

template <typename F>
F* function(void* library, const char* name) {
  return reinterpret_cast<F*>(::dlsym(library, name));
}

}  // namespace

Gpus find_gpus() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // stays open: drivers do not like to be closed
  if (driver == nullptr) return {{}, "no CUDA driver (libcuda.so.1)"};
  // As the CUDA driver API has them: 0 is success, a device is an int.
  auto* const init = function<int(unsigned)>(driver, "cuInit");
  auto* const count = function<int(int*)>(driver, "cuDeviceGetCount");
  auto* const device_name = function<int(char*, int, int)>(driver, "cuDeviceGetName");
  if (init == nullptr || count == nullptr || device_name == nullptr) return {{}, "libcuda.so.1 is no CUDA driver"};
  if (const int fault = init(0); fault != 0) return {{}, fmt::format("cuInit says {}", fault)};
  Gpus gpus;
  int num_devices = 0;
  if (const int fault = count(&num_devices); fault != 0) return {{}, fmt::format("cuDeviceGetCount says {}", fault)};
  for (int i = 0; i < num_devices; ++i) {
    char text[256] = "unknown";
    if (device_name(text, sizeof(text) - 1, i) == 0) gpus.names.emplace_back(text);
  }
  if (gpus.names.empty()) gpus.why_none = "the driver shows no device";
  return gpus;
}

}  // namespace echelon
