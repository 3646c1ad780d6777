// Norms, gates, sums, rope and attention for any x86-64.
#include "kernels/cpu/isa/ops_table.h"
