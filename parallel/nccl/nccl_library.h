// NVIDIA's collective library, opened at run time: 218 MB that a machine without GPUs need not have. From
// nccl_library.cc where the build found NCCL's header, else from absent.cc.
#pragma once

#include <optional>
#include <string>

namespace echelon {

struct NcclVersion {
  int major = 0, minor = 0, patch = 0;
  bool operator==(const NcclVersion&) const = default;
};

/// From NCCL_VERSION_CODE or ncclGetVersion (nccl.h): x * 10000 + y * 100 + z, before 2.9 x * 1000 + y * 100 + z.
constexpr NcclVersion nccl_version(int code) {
  if (code < 10000) return {code / 1000, code % 1000 / 100, code % 100};
  return {code / 10000, code % 10000 / 100, code % 100};
}

inline std::string to_string(const NcclVersion& version) {  // "2.28.9"
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

/// The header's version; nothing when the build had none.
std::optional<NcclVersion> nccl_build();

struct NcclLibrary {
  std::optional<NcclVersion> version;
  std::string why_none;  ///< for people; empty when there is a version
};

/// Opens libnccl.so.2 as the dynamic linker finds it (LD_LIBRARY_PATH); it stays open until the process ends. Needs no
/// device. A missing or broken library is an answer, never an error. Any thread; the first call reads the library.
NcclLibrary nccl_library();

}  // namespace echelon
