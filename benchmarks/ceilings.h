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

/// The inner loop of a product with 4-bit weights that have a scale and a minimum for every 32 columns, from registers:
/// 8 rows x 16 features (AVX2: 4 x 8), for each 8 dots, a conversion, a product of scales and two fma; `rounds` times
/// macs_of_inner_loop(isa). Nothing is unpacked, loaded or stored: what the format allows at best. Not for portable.
void run_inner_loop(CpuIsa isa, int64_t rounds);
int64_t macs_of_inner_loop(CpuIsa isa);

/// Reads data[0, size_bytes), 32-byte aligned, once; needs AVX2. The first call of the process tries which prefetch is
/// fastest here (20 reads); the later ones use it.
void read_all(const std::byte* data, size_t size_bytes);

}  // namespace echelon::bench
