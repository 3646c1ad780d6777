// A build without NCCL's header. Compiled instead of everything else in this folder.
#include "parallel/nccl/nccl_library.h"

namespace echelon {

std::optional<NcclVersion> nccl_build() { return std::nullopt; }
NcclLibrary nccl_library() { return {.version = std::nullopt, .why_none = "no library looked for"}; }

}  // namespace echelon
