// Fills the table of op_kernels.h for the instruction set that the including source is compiled for.
#pragma once

// g++ 12 takes the deliberately undefined operand inside its own AVX-512 intrinsics for a mistake of ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "kernels/cpu/isa/ops_kernels.h"
// after ops_kernels.h: it uses soft_cap
#include "kernels/cpu/isa/attention_kernels.h"

namespace echelon::cpu::ECHELON_ISA {

const OpKernels& op_kernels() {
  static constexpr OpKernels kKernels = {
      .rms_norm = rms_norm_row,
      .gate_silu = gate_silu_row,
      .gate_gelu = gate_gelu_row,
      .softcap = softcap_row,
      .exp = exp_row,
      .scale = scale_row,
      .add = add_row,
      .tree_sum = tree_sum_row,
      .rope_halves = rope_halves_head,
      .rope_interleaved = rope_interleaved_head,
      .store_keys = store_keys,
      .store_values = store_values,
      .attend_span = attend_span,
      .merge_spans = merge_spans,
      .finish_attention = finish_attention,
  };
  return kKernels;
}

}  // namespace echelon::cpu::ECHELON_ISA
