// What the operations other than products offer for one instruction set, as plain data: task structs and a table of
// functions. Included by sources compiled once per instruction set, so it holds no inline function (simd.h).
// Formulas and orders of additions: kernels/cpu/isa/ops_kernels.h and attention_kernels.h.
#pragma once

#include <cstdint>

#include "kernels/base/limits.h"
#include "kernels/kv_type.h"

namespace echelon::cpu {

inline constexpr int kMaxHeadDim = 256;    ///< of attention; a multiple of kVirtualLanes
inline constexpr int kMaxTaskQueries = 8;  ///< queries that share the keys they load

/// Queries over one KV head of one sequence. Pointers are borrowed for the call.
struct AttentionTask {
  int num_queries = 0;                    ///< 1..kMaxTaskQueries
  const float* queries[kMaxTaskQueries];  ///< [head_dim] each
  int positions[kMaxTaskQueries];         ///< ascending; a query sees keys up to its own position
  const uint8_t* block0 = nullptr;        ///< this layer and KV head in block 0; KvCacheView (kernels/backend.h)
  int64_t block_bytes = 0;                ///< from block to block
  const uint8_t* next = nullptr;          ///< the block this thread reads after the last; may be null
  const int32_t* blocks = nullptr;        ///< key j lies in blocks[j / 32], slot j % 32
  int head_dim = 0;
  KvType type = KvType::f32;
  float scale = 0, softcap = 0;  ///< softcap 0: none
  int window = 0;                ///< keys a query sees, itself included; 0: all
};

/// Folded keys of each query of a task, before the division. sum < 0: no key was visible.
struct AttentionPartial {
  float* max = nullptr;  ///< [num_queries]
  float* sum = nullptr;  ///< [num_queries]
  float* acc = nullptr;  ///< [num_queries][head_dim]
};

/// n: floats in a row; any n >= 1 unless said otherwise.
struct OpKernels {
  /// out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* out);
  /// Columns 16 i .. 16 i + 15 of gate and up begin at float i * step.
  void (*gate_silu)(const float* gate, const float* up, int64_t step, int64_t n, float* out);
  void (*gate_gelu)(const float* gate, const float* up, int64_t step, int64_t n, float* out);
  void (*softcap)(float* x, int64_t n, float cap);
  void (*exp)(const float* x, int64_t n, float* out);
  void (*scale)(float* x, int64_t n, float factor);
  void (*add)(float* hidden, const float* x, int64_t n);  ///< hidden += x
  /// out = the tree over slots[i][offset ..]; with `accumulate`, out += it. merges[i] after pushing slot i.
  void (*tree_sum)(const float* const* slots, int64_t offset, const int* merges, int num_slots, int64_t n,
                   bool accumulate, float* out);
  /// num_pairs pairs of the head turn by cos and sin [num_pairs]: (i, i + num_pairs), or (2i, 2i + 1).
  void (*rope_halves)(float* head, const float* cos, const float* sin, int num_pairs);
  void (*rope_interleaved)(float* head, const float* cos, const float* sin, int num_pairs);
  /// Tokens of one head, `stride` floats apart, into slots [first_slot, first_slot + num_tokens) of a block's K or V.
  /// scales: those of the block's 32 slots; KvType::int8 only.
  void (*store_keys)(const float* tokens, int64_t stride, int num_tokens, int head_dim, int first_slot, KvType type,
                     uint8_t* keys, float* scales);
  void (*store_values)(const float* tokens, int64_t stride, int num_tokens, int head_dim, int first_slot, KvType type,
                       uint8_t* values, float* scales);
  /// Keys [256 span, 256 span + 256) into `out`.
  void (*attend_span)(const AttentionTask& task, int span, const AttentionPartial& out);
  /// total = total and the next span, in that order.
  void (*merge_spans)(const AttentionTask& task, const AttentionPartial& total, const AttentionPartial& span);
  /// out [num_queries][head_dim] = acc / sum.
  void (*finish_attention)(const AttentionTask& task, const AttentionPartial& total, float* out);
};

namespace portable {
const OpKernels& op_kernels();
}
namespace avx2 {
const OpKernels& op_kernels();
}
namespace avx512 {
const OpKernels& op_kernels();
}
namespace bf16 {
const OpKernels& op_kernels();
}

}  // namespace echelon::cpu
