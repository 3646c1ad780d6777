// The element types of the KV cache. A header of its own, without inline code: the kernel sources that are compiled
// once per instruction set include it, too.
#pragma once

#include <cstdint>

namespace echelon {

/// int8: codes with one float32 scale per token and KV head, for K and for V (kernels/cpu/isa/attention_kernels.h).
enum class KvType : uint8_t { bf16, f32, int8 };

}  // namespace echelon
