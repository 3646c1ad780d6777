// Norms, gates, sums, rope and attention for AVX2, FMA and F16C.
#include "kernels/cpu/isa/ops_table.h"
