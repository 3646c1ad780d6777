// Norms, gates, sums, rope and the writes to the KV cache, over sixteen lanes; compiled once per instruction set with
// the same bits. The definitions, frozen:
// clang-format off
//
//   rms_norm   lane l of 16 adds fma(x, x, lane) over columns = l mod 16, ascending;
//              the lanes add as the tree of sum_lanes (simd.h);
//              inv = 1 / sqrt(sum / n + epsilon), each step rounded to float32;
//              out = (x * inv) * weight.
//   silu       x / (1 + exp(-x)), times up.
//   gelu_tanh  0.5 x (1 + tanh u) = x / (1 + exp(-2u)), times up;
//              u = x * fma(k * 0.044715, x * x, k), k = sqrt(2 / pi).
//   softcap    cap * tanh(x / cap).
//   rope       a' = a c - b s, b' = a s + b c: products and sums rounded one by one.
//   tree_sum   the postfix program of kernels/reduction_tree.h for every column.
//
// clang-format on
// Bytes moved: every input once, every output once.
#pragma once

#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/isa/ops_simd.h"

namespace echelon::cpu::ECHELON_ISA {

/// Calls f(first column, lanes in use) for every 16 columns of a row.
template <typename F>
static inline void for_lanes(int64_t n, F f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, 16);
  if (i < n) f(i, static_cast<int>(n - i));
}

static inline F32x16 load_some(const float* p, int lanes) { return lanes == 16 ? load(p) : load_first(p, lanes); }
static inline void store_some(float* p, F32x16 a, int lanes) {
  if (lanes == 16) {
    store(p, a);
  } else {
    store_first(p, a, lanes);
  }
}

static void rms_norm_row(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
  F32x16 squares = zero();
  for_lanes(n, [&](int64_t i, int lanes) {
    const F32x16 v = load_some(x + i, lanes);
    squares = fma(v, v, squares);
  });
  const float inverse = 1.0f / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon);
  const F32x16 inv = set1(inverse);
  for_lanes(n, [&](int64_t i, int lanes) {
    store_some(out + i, mul(mul(load_some(x + i, lanes), inv), load_some(weight + i, lanes)), lanes);
  });
}

static void gate_silu_row(const float* gate, const float* up, int64_t step, int64_t n, float* out) {
  for_lanes(n, [&](int64_t i, int lanes) {
    const F32x16 x = load_some(gate + i / 16 * step, lanes);
    const F32x16 silu = div(x, add(set1(1.0f), exp(mul(x, set1(-1.0f)))));
    store_some(out + i, mul(silu, load_some(up + i / 16 * step, lanes)), lanes);
  });
}

static void gate_gelu_row(const float* gate, const float* up, int64_t step, int64_t n, float* out) {
  const F32x16 minus_2k = set1(-1.5957691216f), minus_2k3 = set1(-0.071354816f);
  for_lanes(n, [&](int64_t i, int lanes) {
    const F32x16 x = load_some(gate + i / 16 * step, lanes);
    const F32x16 minus_2u = mul(x, fma(minus_2k3, mul(x, x), minus_2k));
    const F32x16 gelu = div(x, add(set1(1.0f), exp(minus_2u)));
    store_some(out + i, mul(gelu, load_some(up + i / 16 * step, lanes)), lanes);
  });
}

static inline F32x16 soft_cap(F32x16 x, float cap) { return mul(set1(cap), tanh(div(x, set1(cap)))); }

static void softcap_row(float* x, int64_t n, float cap) {
  for_lanes(n, [&](int64_t i, int lanes) { store_some(x + i, soft_cap(load_some(x + i, lanes), cap), lanes); });
}

static void exp_row(const float* x, int64_t n, float* out) {
  for_lanes(n, [&](int64_t i, int lanes) { store_some(out + i, exp(load_some(x + i, lanes)), lanes); });
}

static void scale_row(float* x, int64_t n, float factor) {
  for_lanes(n, [&](int64_t i, int lanes) { store_some(x + i, mul(load_some(x + i, lanes), set1(factor)), lanes); });
}

static void add_row(float* hidden, const float* x, int64_t n) {
  for_lanes(n, [&](int64_t i, int lanes) {
    store_some(hidden + i, add(load_some(hidden + i, lanes), load_some(x + i, lanes)), lanes);
  });
}

static void tree_sum_row(const float* const* slots, int64_t offset, const int* merges, int num_slots, int64_t n,
                         bool accumulate, float* out) {
  for_lanes(n, [&](int64_t i, int lanes) {
    F32x16 stack[kNumLeaves];
    int depth = 0;
    for (int slot = 0; slot < num_slots; ++slot) {
      stack[depth++] = load_some(slots[slot] + offset + i, lanes);
      for (int m = 0; m < merges[slot]; ++m, --depth) stack[depth - 2] = add(stack[depth - 2], stack[depth - 1]);
    }
    store_some(out + i, accumulate ? add(load_some(out + i, lanes), stack[0]) : stack[0], lanes);
  });
}

static void rope_halves_head(float* head, const float* cos, const float* sin, int num_pairs) {
  for_lanes(num_pairs, [&](int64_t i, int lanes) {
    const F32x16 a = load_some(head + i, lanes), b = load_some(head + num_pairs + i, lanes);
    const F32x16 c = load_some(cos + i, lanes), s = load_some(sin + i, lanes);
    store_some(head + i, sub(mul(a, c), mul(b, s)), lanes);
    store_some(head + num_pairs + i, add(mul(a, s), mul(b, c)), lanes);
  });
}

static void rope_interleaved_head(float* head, const float* cos, const float* sin, int num_pairs) {
  for (int i = 0; i < num_pairs; ++i) {
    const float a = head[2 * i], b = head[2 * i + 1];
    head[2 * i] = a * cos[i] - b * sin[i];
    head[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

/// One token's K or V of one head: codes, and the scale (definition: attention_kernels.h). head_dim is a multiple
/// of 16.
static float quantize_head(const float* x, int head_dim, int8_t* codes) {
  uint32_t largest = 0;  // by bit pattern: the order of the magnitudes, and a NaN is largest
  for (int d = 0; d < head_dim; ++d) {
    uint32_t bits;
    std::memcpy(&bits, x + d, sizeof bits);
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  const auto [scale, inverse] = int8_scale(largest);
  for (int d = 0; d < head_dim; d += 16) {
    const F32x16 scaled = max(min(mul(load(x + d), set1(inverse)), set1(127.0f)), set1(-127.0f));
    int32_t whole[16];
    store(whole, round_to_int(scaled));
    for (int i = 0; i < 16; ++i) codes[d + i] = static_cast<int8_t>(whole[i]);
  }
  return scale;
}

static void store_keys(const float* tokens, int64_t stride, int num_tokens, int head_dim, int first_slot, KvType type,
                       uint8_t* keys, float* scales) {
  if (type == KvType::int8) {
    for (int t = first_slot; t < first_slot + num_tokens; ++t, tokens += stride) {
      int8_t codes[kMaxHeadDim];
      scales[t] = quantize_head(tokens, head_dim, codes);
      for (int d = 0; d < head_dim; ++d) keys[d * kBlockTokens + t] = static_cast<uint8_t>(codes[d]);
    }
    return;
  }
  for (int d = 0; d < head_dim; ++d) {
    if (type == KvType::bf16) {  // a pair of dims of one token side by side
      uint16_t* out = reinterpret_cast<uint16_t*>(keys) + (d / 2 * kBlockTokens + first_slot) * 2 + d % 2;
      for (int t = 0; t < num_tokens; ++t) out[2 * t] = narrow_to_bf16(tokens[t * stride + d]);
    } else {
      float* out = reinterpret_cast<float*>(keys) + d * kBlockTokens + first_slot;
      for (int t = 0; t < num_tokens; ++t) out[t] = tokens[t * stride + d];
    }
  }
}

static void store_values(const float* tokens, int64_t stride, int num_tokens, int head_dim, int first_slot, KvType type,
                         uint8_t* values, float* scales) {
  for (int t = 0; t < num_tokens; ++t) {
    const float* in = tokens + t * stride;
    if (type == KvType::int8) {
      int8_t* out = reinterpret_cast<int8_t*>(values) + (first_slot + t) * head_dim;
      scales[first_slot + t] = quantize_head(in, head_dim, out);
    } else if (type == KvType::bf16) {
      const int slot = first_slot + t;  // a dim of two tokens side by side; the other may be another thread's
      uint16_t* out = reinterpret_cast<uint16_t*>(values) + slot / 2 * 2 * head_dim + slot % 2;
      for (int d = 0; d < head_dim; ++d) out[2 * d] = narrow_to_bf16(in[d]);
    } else {
      std::memcpy(reinterpret_cast<float*>(values) + (first_slot + t) * head_dim, in,
                  sizeof(float) * static_cast<size_t>(head_dim));
    }
  }
}

}  // namespace echelon::cpu::ECHELON_ISA
