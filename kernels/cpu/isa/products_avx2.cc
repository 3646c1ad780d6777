// The matrix products for AVX2, FMA and F16C.
#include "kernels/cpu/isa/products_kernels.h"
