// Which of the CPU's instruction sets this machine has, and the kernels of each.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/isa/op_kernels.h"

namespace echelon::cpu {

/// This processor and its operating system run it.
bool has_isa(CpuIsa isa);

/// What has_isa() admits, best last; never empty. Tests run over all of them.
std::vector<CpuIsa> available_isas();

/// All instruction sets Echelon has kernels for, best last.
inline constexpr CpuIsa kAllIsas[] = {CpuIsa::portable, CpuIsa::avx2, CpuIsa::avx512, CpuIsa::avx512_vnni,
                                      CpuIsa::avx512_bf16};

/// Weights that are needed soon are best fetched into L1 (measured on AMD's family 26, Zen 5), not L2 (Zen 4, where
/// L1's miss slots are what reading waits for; and others, not measured). Speed only.
bool prefers_prefetch_into_l1();

/// Norms, gates, sums, rope and attention. The caller knows that this machine has it.
const OpKernels& op_kernels(CpuIsa isa);

}  // namespace echelon::cpu
