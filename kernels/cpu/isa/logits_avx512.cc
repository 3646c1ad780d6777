// Kernels over logits for AVX-512 F, BW, VL and DQ (with VNNI, too).
#include "kernels/cpu/isa/logits_kernels.h"
