// Kernels over logits for portable C++.
#include "kernels/cpu/isa/logits_kernels.h"
