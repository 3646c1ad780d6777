// The matrix products for AVX-512 (F, BW, VL, DQ).
#include "kernels/cpu/isa/products_kernels.h"
