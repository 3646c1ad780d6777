// libnccl.so.2 by dlopen: the name carries the major version, so types of the header fit.
#include "parallel/nccl/nccl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <nccl.h>

namespace echelon {
namespace {

constexpr char kLibrary[] = "libnccl.so.2";

NcclLibrary open_library() {
  const auto failed = [](const std::string& why) { return NcclLibrary{.version = std::nullopt, .why_none = why}; };
  void* library = dlopen(kLibrary, RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) return failed(dlerror());
  void* symbol = dlsym(library, "ncclGetVersion");
  if (symbol == nullptr) return failed(fmt::format("{} has no ncclGetVersion", kLibrary));
  int code = 0;
  const ncclResult_t result = reinterpret_cast<decltype(&ncclGetVersion)>(symbol)(&code);
  if (result != ncclSuccess) return failed(fmt::format("ncclGetVersion of {}: error {}", kLibrary, int{result}));
  return {.version = nccl_version(code), .why_none = {}};
}

}  // namespace

std::optional<NcclVersion> nccl_build() { return nccl_version(NCCL_VERSION_CODE); }

NcclLibrary nccl_library() {
  static const NcclLibrary library = open_library();
  return library;
}

}  // namespace echelon
