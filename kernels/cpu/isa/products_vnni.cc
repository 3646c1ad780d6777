// The matrix products for AVX-512 with VNNI.
#include "kernels/cpu/isa/products_kernels.h"
