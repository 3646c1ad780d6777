// Kernels over logits for AVX2.
#include "kernels/cpu/isa/logits_kernels.h"
