// Norms, gates, sums, rope and attention for AVX-512 with VNNI and BF16.
#include "kernels/cpu/isa/ops_table.h"
