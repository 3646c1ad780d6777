// Norms, gates, sums, rope and attention for AVX-512 F, BW, VL and DQ (with VNNI, too).
#include "kernels/cpu/isa/ops_table.h"
