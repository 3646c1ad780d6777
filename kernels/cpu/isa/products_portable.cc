// The matrix products for any x86-64.
#include "kernels/cpu/isa/products_kernels.h"
