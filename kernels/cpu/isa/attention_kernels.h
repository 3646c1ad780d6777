// Attention of a few queries over one span of 256 keys of one KV head, the merge of spans and the final division;
// compiled once per instruction set with the same bits. The definition, frozen:
// clang-format off
//
// Tiles of 32 keys at absolute positions, ascending; tiles without a visible key are skipped.
// For every query, from m = -infinity, l = 0, acc = 0 in every span:
//   score_j = (chain over dims d ascending: fma(q_d, k_dj, score), from 0) * scale; then softcap
//   m'      = max(m, largest visible score_j)
//   c       = exp(m - m')
//   p_j     = exp(score_j - m'), hidden keys 0
//   l_lane  = fma(l_lane, c, p_lane) + p_(lane + 16)
//   acc_d   = acc_d * c, then fma(p_j, v_jd, acc_d) over visible j ascending
// at the span's end:
//   l = sum_lanes(l)
// Spans merge in index order:
//   M   = max(m_a, m_b)
//   l   = fma(l_a, exp(m_a - M), l_b * exp(m_b - M))
//   acc = fma(acc_a, exp(m_a - M), acc_b * exp(m_b - M))
// and at the end out_d = acc_d / l.
//
// A cache of KvType::int8 holds K and V of a token and KV head as codes and one float32 scale each (store_keys,
// store_values), a function of that token's head alone:
//   m = largest |x| over the head's dims, by bit pattern; below 2^-119 codes and scale are 0 (it would be subnormal)
//   scale = m / 127; code = x * (127 / m), clamped to [-127, 127], rounded to nearest even
//   an infinity or a NaN becomes m (a NaN is the largest), and so spreads to all dims of the token
// and the two lines that read them are
//   score_j = ((chain over d: fma(q_d, float(k_code_dj), score), from 0) * k_scale_j) * scale; then softcap
//   acc_d   = acc_d * c, then fma(p_j * v_scale_j, float(v_code_jd), acc_d) over visible j ascending
//
// clang-format on
// Keys that a query does not see never enter an operation whose result it keeps. So its bits depend on its position,
// keys and values alone, not on the queries beside it. With one span there is no merge.
//
// Both products, q K and p V, are one loop ("fold"): rows of broadcast values against rows of lanes, kFoldRows x
// kFoldVectors accumulators in registers. Each K and V line is read once per task and the next block is prefetched into
// L2 meanwhile: scattered blocks of 8 KB go from 28 % to 60 % of one core's read bandwidth (Zen 4).
#pragma once

#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/isa/ops_simd.h"

namespace echelon::cpu::ECHELON_ISA {

inline constexpr int kQueryStride = kMaxHeadDim + 16;  // the rows of a tile do not fall into one cache set
inline constexpr int kTilesPerSpan = kAttentionSpan / kAttentionTile;
static_assert(kAttentionTile == kBlockTokens && kAttentionTile == 2 * kVirtualLanes);

/// One tile's numbers of every query.
struct TileState {
  alignas(64) float scores[kMaxTaskQueries * kAttentionTile];  // then p, times the scale of V if there is one
  alignas(64) float rescale[16];                               // c
  int from[kMaxTaskQueries], end[kMaxTaskQueries];             // visible keys of the tile
  int common_from, common_end;                                 // seen by all queries
};

/// acc[r][v] = fma(a[r * a_stride + i], b[i * b_stride + 16 v ..], acc[r][v]) for i = 0 .. n - 1.
template <int R, int V, typename T>
static inline __attribute__((always_inline)) void fold(const float* a, int64_t a_stride, const T* b, int64_t b_stride,
                                                       int n, const T* ahead, F32x16 (&acc)[R][V]) {
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    prefetch(ahead + i * b_stride);
    if (sizeof(T) == 4 && V == 2) prefetch(ahead + i * b_stride + 16);
    F32x16 lanes[V];
    load_lanes<V>(b + i * b_stride, lanes);
    for (int r = 0; r < R; ++r) {
      const F32x16 value = set1(a[r * a_stride + i]);
      for (int v = 0; v < V; ++v) acc[r][v] = fma(value, lanes[v], acc[r][v]);
    }
  }
}

template <int R, typename T>
static void score_rows(const float* queries, int head_dim, const T* keys, const T* ahead, float* scores) {
  for (int key = 0; key < kAttentionTile; key += 16 * kFoldVectors) {
    F32x16 acc[R][kFoldVectors];
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kFoldVectors; ++v) acc[r][v] = zero();
    }
    fold(queries, kQueryStride, keys + key, kAttentionTile, head_dim, ahead + key, acc);
    for (int r = 0; r < R; ++r) {
      restore_order<T>(acc[r]);
      for (int v = 0; v < kFoldVectors; ++v) store(scores + r * kAttentionTile + key + 16 * v, acc[r][v]);
    }
  }
}

template <int R, int V, typename T>
static inline void value_columns(const float* p, const float* rescale, int num_keys, const T* values, int head_dim,
                                 const T* ahead, float* out) {
  F32x16 acc[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) acc[r][v] = mul(load(out + r * head_dim + 16 * v), set1(rescale[r]));
  }
  fold(p, kAttentionTile, values, head_dim, num_keys, ahead, acc);
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store(out + r * head_dim + 16 * v, acc[r][v]);
  }
}

template <int R, typename T>
static void value_rows(const float* p, const float* rescale, int num_keys, const T* values, int head_dim,
                       const T* ahead, float* out) {
  int d = 0;
  for (; d + 16 * kFoldVectors <= head_dim; d += 16 * kFoldVectors) {
    value_columns<R, kFoldVectors>(p, rescale, num_keys, values + d, head_dim, ahead + d, out + d);
  }
  for (; d < head_dim; d += 16) value_columns<R, 1>(p, rescale, num_keys, values + d, head_dim, ahead + d, out + d);
}

/// Calls f.template operator()<R>(first row) for pieces of R rows that cover num_rows.
template <typename F>
static inline void for_row_pieces(int num_rows, F f) {
  int r = 0;
  if constexpr (kFoldRows >= 8) {
    for (; num_rows - r >= 8; r += 8) f.template operator()<8>(r);
  }
  if constexpr (kFoldRows >= 4) {
    for (; num_rows - r >= 4; r += 4) f.template operator()<4>(r);
    if (num_rows - r == 3) {
      f.template operator()<3>(r);
      return;
    }
    if (num_rows - r == 2) {
      f.template operator()<2>(r);
      return;
    }
  }
  for (; r < num_rows; ++r) f.template operator()<1>(r);
}

/// Fills from and end of a tile, and the keys that all queries see.
static void visible_keys(const AttentionTask& task, int first_key, TileState& tile) {
  tile.common_from = 0;
  tile.common_end = kAttentionTile;
  for (int r = 0; r < task.num_queries; ++r) {
    const int position = task.positions[r];
    const int first = task.window > 0 && position >= task.window ? position - task.window + 1 : 0;
    tile.from[r] = first > first_key ? first - first_key : 0;
    tile.end[r] = position - first_key + 1 < kAttentionTile ? position - first_key + 1 : kAttentionTile;
    if (tile.from[r] > tile.common_from) tile.common_from = tile.from[r];
    if (tile.end[r] < tile.common_end) tile.common_end = tile.end[r];
  }
}

/// acc = acc * c + p V over the visible keys of each query: its keys before those that all see, those, and its keys
/// after them.
template <typename T>
static void fold_values(const AttentionTask& task, const TileState& tile, const T* values, const T* ahead, float* acc) {
  const int head_dim = task.head_dim, from = tile.common_from, end = tile.common_end;
  const auto keys_of_one = [&](int r, int first, int last, const float* rescale) {
    value_rows<1>(tile.scores + r * kAttentionTile + first, rescale, last - first, values + first * head_dim, head_dim,
                  ahead + first * head_dim, acc + r * head_dim);
  };
  if (from >= end) {  // some query sees none of the keys another sees
    for (int r = 0; r < task.num_queries; ++r) {
      if (tile.from[r] < tile.end[r]) keys_of_one(r, tile.from[r], tile.end[r], tile.rescale + r);
    }
    return;
  }
  const float one[kMaxTaskQueries] = {1, 1, 1, 1, 1, 1, 1, 1};
  float rescale[kMaxTaskQueries];
  for (int r = 0; r < task.num_queries; ++r) {
    rescale[r] = tile.rescale[r];
    if (tile.from[r] == from) continue;
    keys_of_one(r, tile.from[r], from, rescale + r);
    rescale[r] = 1;
  }
  for_row_pieces(task.num_queries, [&]<int R>(int r) {
    value_rows<R>(tile.scores + r * kAttentionTile + from, rescale + r, end - from, values + from * head_dim, head_dim,
                  ahead + from * head_dim, acc + r * head_dim);
  });
  for (int r = 0; r < task.num_queries; ++r) {
    if (tile.end[r] > end) keys_of_one(r, end, tile.end[r], one);
  }
}

/// Raw scores -> the weights of the values, and the running maximum and sums. key_scales: a tile's scales of K and then
/// of V; null for types that have none.
template <bool HasScales>
static void soft_max_tile(const AttentionTask& task, const float* key_scales, TileState& tile, float* max_score,
                          F32x16* sums) {
  alignas(64) float change[16] = {};
  const float infinity = __builtin_inff();
  for (int r = 0; r < task.num_queries; ++r) {
    float* scores = tile.scores + r * kAttentionTile;
    if (tile.from[r] >= tile.end[r]) continue;
    F32x16 low = load(scores), high = load(scores + 16);
    if constexpr (HasScales) {
      low = mul(low, load(key_scales));
      high = mul(high, load(key_scales + 16));
    }
    low = mul(low, set1(task.scale));
    high = mul(high, set1(task.scale));
    if (task.softcap > 0) {
      low = soft_cap(low, task.softcap);
      high = soft_cap(high, task.softcap);
    }
    store(scores, low);
    store(scores + 16, high);
    if (tile.end[r] - tile.from[r] < kAttentionTile) {
      for (int j = 0; j < tile.from[r]; ++j) scores[j] = -infinity;
      for (int j = tile.end[r]; j < kAttentionTile; ++j) scores[j] = -infinity;
      low = load(scores);
      high = load(scores + 16);
    }
    const float top = largest(max(low, high));
    const float next = max_score[r] > top ? max_score[r] : top;
    change[r] = max_score[r] - next;
    max_score[r] = next;
  }
  const F32x16 rescale = exp_not_positive(load(change));
  store(tile.rescale, rescale);
  for (int r = 0; r < task.num_queries; ++r) {
    if (tile.from[r] >= tile.end[r]) continue;
    float* scores = tile.scores + r * kAttentionTile;
    const F32x16 low = exp_not_positive(sub(load(scores), set1(max_score[r])));
    const F32x16 high = exp_not_positive(sub(load(scores + 16), set1(max_score[r])));
    if constexpr (HasScales) {  // scales of hidden keys may be anything: fold_values does not read those weights
      store(scores, mul(low, load(key_scales + kAttentionTile)));
      store(scores + 16, mul(high, load(key_scales + kAttentionTile + 16)));
    } else {
      store(scores, low);
      store(scores + 16, high);
    }
    sums[r] = add(fma(sums[r], set1(tile.rescale[r]), low), high);
  }
}

template <typename T>
static void attend_span_of(const AttentionTask& task, int span, const AttentionPartial& out) {
  const int num_queries = task.num_queries, head_dim = task.head_dim;
  alignas(64) float queries[kMaxTaskQueries * kQueryStride];
  TileState tile;
  F32x16 sums[kMaxTaskQueries];
  float max_score[kMaxTaskQueries];
  bool saw_keys[kMaxTaskQueries] = {};
  for (int r = 0; r < num_queries; ++r) {
    std::memcpy(queries + r * kQueryStride, task.queries[r], sizeof(float) * static_cast<size_t>(head_dim));
    sums[r] = zero();
    max_score[r] = -__builtin_inff();
  }
  std::memset(out.acc, 0, sizeof(float) * static_cast<size_t>(num_queries * head_dim));

  const int first_position = task.positions[0], last_tile = task.positions[num_queries - 1] / kAttentionTile;
  const int first_seen = task.window > 0 && first_position >= task.window ? first_position - task.window + 1 : 0;
  const int first_tile =
      first_seen / kAttentionTile > span * kTilesPerSpan ? first_seen / kAttentionTile : span * kTilesPerSpan;
  const int end_tile = last_tile < (span + 1) * kTilesPerSpan ? last_tile + 1 : (span + 1) * kTilesPerSpan;
  const int64_t value_offset = int64_t{kAttentionTile} * head_dim;
  for (int t = first_tile; t < end_tile; ++t) {
    const T* keys = reinterpret_cast<const T*>(task.block0 + task.blocks[t] * task.block_bytes);
    const uint8_t* next = t < last_tile ? task.block0 + task.blocks[t + 1] * task.block_bytes : task.next;
    const T* ahead = next != nullptr ? reinterpret_cast<const T*>(next) : keys;
    for_row_pieces(num_queries, [&]<int R>(int r) {
      score_rows<R>(queries + r * kQueryStride, head_dim, keys, ahead, tile.scores + r * kAttentionTile);
    });
    visible_keys(task, t * kAttentionTile, tile);
    for (int r = 0; r < num_queries; ++r) saw_keys[r] = saw_keys[r] || tile.from[r] < tile.end[r];
    constexpr bool kHasScales = sizeof(T) == 1;
    const float* scales = nullptr;
    if constexpr (kHasScales) {
      scales = reinterpret_cast<const float*>(keys + 2 * value_offset);
      for (int i = 0; i < 4; ++i) prefetch(ahead + 2 * value_offset + 64 * i);
    }
    soft_max_tile<kHasScales>(task, scales, tile, max_score, sums);
    const T* values = keys + value_offset;
    fold_values(task, tile, values, ahead + value_offset, out.acc);
  }
  for (int r = 0; r < num_queries; ++r) {
    out.max[r] = max_score[r];
    out.sum[r] = saw_keys[r] ? sum_lanes(sums[r]) : -1.0f;
  }
}

static void attend_span(const AttentionTask& task, int span, const AttentionPartial& out) {
  if (task.type == KvType::bf16) {
    attend_span_of<uint16_t>(task, span, out);
  } else if (task.type == KvType::int8) {
    attend_span_of<int8_t>(task, span, out);
  } else {
    attend_span_of<float>(task, span, out);
  }
}

static void merge_spans(const AttentionTask& task, const AttentionPartial& total, const AttentionPartial& span) {
  const int head_dim = task.head_dim;
  for (int r = 0; r < task.num_queries; ++r) {
    if (span.sum[r] < 0) continue;
    float* acc = total.acc + r * head_dim;
    const float* other = span.acc + r * head_dim;
    if (total.sum[r] < 0) {
      total.max[r] = span.max[r];
      total.sum[r] = span.sum[r];
      std::memcpy(acc, other, sizeof(float) * static_cast<size_t>(head_dim));
      continue;
    }
    const float top = total.max[r] > span.max[r] ? total.max[r] : span.max[r];
    float changes[16] = {total.max[r] - top, span.max[r] - top};
    store(changes, exp_not_positive(load(changes)));
    const F32x16 a = set1(changes[0]), b = set1(changes[1]);
    total.max[r] = top;
    float sum[16];
    store(sum, fma(set1(total.sum[r]), a, mul(set1(span.sum[r]), b)));
    total.sum[r] = sum[0];
    for (int d = 0; d < head_dim; d += 16) store(acc + d, fma(load(acc + d), a, mul(load(other + d), b)));
  }
}

template <typename T, int V>
static inline void finish_columns(const float* acc, F32x16 sum, float* out) {
  F32x16 lanes[V];
  for (int v = 0; v < V; ++v) lanes[v] = div(load(acc + 16 * v), sum);
  restore_order<T>(lanes);
  for (int v = 0; v < V; ++v) store(out + 16 * v, lanes[v]);
}

template <typename T>
static void finish_of(const AttentionTask& task, const AttentionPartial& total, float* out) {
  for (int r = 0; r < task.num_queries; ++r) {
    const F32x16 sum = set1(total.sum[r]);
    const float* acc = total.acc + r * task.head_dim;
    float* row = out + r * task.head_dim;
    int d = 0;
    for (; d + 16 * kFoldVectors <= task.head_dim; d += 16 * kFoldVectors) {
      finish_columns<T, kFoldVectors>(acc + d, sum, row + d);
    }
    for (; d < task.head_dim; d += 16) finish_columns<T, 1>(acc + d, sum, row + d);
  }
}

static void finish_attention(const AttentionTask& task, const AttentionPartial& total, float* out) {
  if (task.type == KvType::bf16) {
    finish_of<uint16_t>(task, total, out);
  } else {
    finish_of<float>(task, total, out);
  }
}

}  // namespace echelon::cpu::ECHELON_ISA
