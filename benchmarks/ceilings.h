// What one core does at best: int8 dots from registers and a read of memory, as loops for products_bench and
// ceilings_bench. The caller asks cpu::has_isa() first. Shares of a little over 100 % occur: no loop is a true ceiling.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace echelon::bench {

/// Dots of `isa`'s own int8 instructions, 12 independent sums, nothing read: `rounds` rounds of 12 * macs_of_dot(isa)
/// multiply-adds. Not for portable.
void run_dots(CpuIsa isa, int64_t rounds);
inline constexpr int kDotsARound = 12;
int macs_of_dot(CpuIsa isa);

/// Reads data[0, size_bytes), 32-byte aligned, once; needs AVX2.
void read_all(const std::byte* data, size_t size_bytes);

}  // namespace echelon::bench
