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
// With a cache of KvType::bf16 queries and p_j are rounded to bf16 (nearest even), and pairs go together, the odd one
// first: vdpbf16ps does that, and machines without it follow. q' and p' are the rounded ones, i counts pairs:
//   score_j = (chain over i ascending: fma(q'_2i, k_j2i, fma(q'_2i+1, k_j2i+1, score)), from 0) * scale; then softcap
//   l_lane  = fma(l_lane, c, p'_(2 lane)) + p'_(2 lane + 1)
//   acc_d   = acc_d * c, then fma(p'_2i, v_2id, fma(p'_2i+1, v_2i+1d, acc_d)) over pairs with a visible key ascending; the
//             hidden key of a pair is p = v = 0
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
static_assert(kAttentionTile == kBlockTokens && kAttentionTile == 2 * kVirtualLanes && kMaxTaskQueries == 8);

/// One tile's numbers of every query.
template <typename T>
struct TileState {
  alignas(64) float scores[2][kMaxTaskQueries * kAttentionTile];                     // of even and odd tiles
  alignas(64) typename FoldOf<T>::Stored weights[kMaxTaskQueries * kAttentionTile];  // p, times the scale of V if any
  alignas(64) float rescale[16];                                                     // c
  int from[kMaxTaskQueries], end[kMaxTaskQueries];                                   // visible keys of the tile
  int common_from, common_end;                                                       // seen by all queries
  bool whole;                                                                        // all keys seen by all queries
};

/// n rows of b (of kStep elements a column) against the n values, or pairs, of each of R rows of a.
template <int R, int V, typename T>
static inline __attribute__((always_inline)) void fold(const typename FoldOf<T>::Stored* a, int64_t a_stride,
                                                       const T* b, int64_t b_stride, int n, const T* ahead,
                                                       F32x16 (&acc)[R][V]) {
  using Fold = FoldOf<T>;
  constexpr int kElements = 16 * Fold::kStep;
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    for (int e = 0; e < V * kElements; e += static_cast<int>(64 / sizeof(T))) prefetch(ahead + i * b_stride + e);
    typename Fold::Lanes lanes[V];
    for (int v = 0; v < V; ++v) lanes[v] = Fold::lanes(b + i * b_stride + v * kElements);
    for (int r = 0; r < R; ++r) {
      const typename Fold::Value value = Fold::value(a + r * a_stride + i * Fold::kStep);
      for (int v = 0; v < V; ++v) acc[r][v] = Fold::add(value, lanes[v], acc[r][v]);
    }
  }
}

template <int R, typename T>
static void score_rows(const typename FoldOf<T>::Stored* queries, int head_dim, const T* keys, const T* ahead,
                       float* scores) {
  constexpr int kStep = FoldOf<T>::kStep;
  for (int key = 0; key < kAttentionTile; key += 16 * kFoldVectors) {
    F32x16 acc[R][kFoldVectors];
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kFoldVectors; ++v) acc[r][v] = zero();
    }
    fold<R, kFoldVectors, T>(queries, kQueryStride, keys + key * kStep, kAttentionTile * kStep, head_dim / kStep,
                             ahead + key * kStep, acc);
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kFoldVectors; ++v) store(scores + r * kAttentionTile + key + 16 * v, acc[r][v]);
    }
  }
}

template <int R, int V, typename T>
static inline __attribute__((always_inline)) void value_columns(const typename FoldOf<T>::Stored* p,
                                                                const float* rescale, int num_rows, const T* values,
                                                                int head_dim, const T* ahead, float* out) {
  F32x16 acc[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) acc[r][v] = mul(load(out + r * head_dim + 16 * v), set1(rescale[r]));
  }
  fold<R, V, T>(p, kAttentionTile, values, int64_t{head_dim} * FoldOf<T>::kStep, num_rows, ahead, acc);
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store(out + r * head_dim + 16 * v, acc[r][v]);
  }
}

/// num_rows: of V, each of kStep keys.
template <int R, typename T>
static void value_rows(const typename FoldOf<T>::Stored* p, const float* rescale, int num_rows, const T* values,
                       int head_dim, const T* ahead, float* out) {
  constexpr int kStep = FoldOf<T>::kStep;
  int d = 0;
  for (; d + 16 * kFoldVectors <= head_dim; d += 16 * kFoldVectors) {
    value_columns<R, kFoldVectors, T>(p, rescale, num_rows, values + d * kStep, head_dim, ahead + d * kStep, out + d);
  }
  for (; d < head_dim; d += 16) {
    value_columns<R, 1, T>(p, rescale, num_rows, values + d * kStep, head_dim, ahead + d * kStep, out + d);
  }
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

/// The first key that a query sees.
static inline int first_visible(const AttentionTask& task, int position) {
  return task.window > 0 && position >= task.window ? position - task.window + 1 : 0;
}

/// Fills from and end of a tile, and the keys that all queries see.
template <typename T>
static void visible_keys(const AttentionTask& task, int first_key, TileState<T>& tile) {
  tile.common_from = 0;
  tile.common_end = kAttentionTile;
  tile.whole = task.positions[0] - first_key + 1 >= kAttentionTile &&
               first_visible(task, task.positions[task.num_queries - 1]) <= first_key;
  if (tile.whole) return;
  for (int r = 0; r < task.num_queries; ++r) {
    const auto in_tile = [&](int key) {
      return key < first_key ? 0 : key < first_key + kAttentionTile ? key - first_key : kAttentionTile;
    };
    tile.from[r] = in_tile(first_visible(task, task.positions[r]));
    tile.end[r] = in_tile(task.positions[r] + 1);
    if (tile.from[r] > tile.common_from) tile.common_from = tile.from[r];
    if (tile.end[r] < tile.common_end) tile.common_end = tile.end[r];
  }
}

/// acc = acc * c + p V over keys [first, end) of query r. A pair of which it sees one key enters with zeros for the
/// other, which may be anything.
template <typename T>
static void fold_own_keys(const TileState<T>& tile, int r, int first, int end, float rescale, const T* values,
                          int head_dim, const T* ahead, float* acc) {
  constexpr int kStep = FoldOf<T>::kStep;
  const auto rows = [&](int from, int n, const T* data) {
    value_rows<1, T>(tile.weights + r * kAttentionTile + from * kStep, &rescale, n, data, head_dim,
                     ahead + int64_t{from} * kStep * head_dim, acc);
    rescale = 1;
  };
  const auto seen_half = [&](int key) {
    alignas(64) T row[2 * kMaxHeadDim];
    const T* pairs = values + int64_t{key / 2} * 2 * head_dim;
    for (int d = 0; d < 2 * head_dim; ++d) row[d] = (d & 1) == (key & 1) ? pairs[d] : T{0};
    rows(key / 2, 1, row);
  };
  if (kStep == 2 && first < end && first % 2 != 0) seen_half(first++);
  const int whole = (end - first) / kStep;
  if (whole > 0) rows(first / kStep, whole, values + int64_t{first} * head_dim);
  if (kStep == 2 && first < end && end % 2 != 0) seen_half(end - 1);
}

/// acc = acc * c + p V over keys [from, end) of all queries, a multiple of kStep each.
template <typename T>
static void fold_common(const AttentionTask& task, const TileState<T>& tile, const float* rescale, int from, int end,
                        const T* values, const T* ahead, float* acc) {
  const int head_dim = task.head_dim;
  for_row_pieces(task.num_queries, [&]<int R>(int r) {
    value_rows<R, T>(tile.weights + r * kAttentionTile + from, rescale + r, (end - from) / FoldOf<T>::kStep,
                     values + int64_t{from} * head_dim, head_dim, ahead + int64_t{from} * head_dim, acc + r * head_dim);
  });
}

/// acc = acc * c + p V over the visible keys of each query: its keys before those that all see, those, and its keys
/// after them.
template <typename T>
static void fold_values(const AttentionTask& task, const TileState<T>& tile, const T* values, const T* ahead,
                        float* acc) {
  constexpr int kStep = FoldOf<T>::kStep;
  const int head_dim = task.head_dim;
  if (tile.whole) return fold_common(task, tile, tile.rescale, 0, kAttentionTile, values, ahead, acc);
  const int from = (tile.common_from + kStep - 1) / kStep * kStep, end = tile.common_end / kStep * kStep;
  if (from >= end) {  // no key, or no pair, that all see
    for (int r = 0; r < task.num_queries; ++r) {
      if (tile.from[r] >= tile.end[r]) continue;
      fold_own_keys(tile, r, tile.from[r], tile.end[r], tile.rescale[r], values, head_dim, ahead, acc + r * head_dim);
    }
    return;
  }
  float rescale[kMaxTaskQueries];
  for (int r = 0; r < task.num_queries; ++r) {
    rescale[r] = tile.rescale[r];
    if (tile.from[r] == from) continue;
    fold_own_keys(tile, r, tile.from[r], from, rescale[r], values, head_dim, ahead, acc + r * head_dim);
    rescale[r] = 1;
  }
  fold_common(task, tile, rescale, from, end, values, ahead, acc);
  for (int r = 0; r < task.num_queries; ++r) {
    if (tile.end[r] > end) fold_own_keys(tile, r, end, tile.end[r], 1.0f, values, head_dim, ahead, acc + r * head_dim);
  }
}

/// Scores of keys that the query does not see become -infinity.
static inline void hide_keys(float* scores, int from, int end) {
  for (int j = 0; j < from; ++j) scores[j] = -__builtin_inff();
  for (int j = end; j < kAttentionTile; ++j) scores[j] = -__builtin_inff();
}

/// Raw scores (all_scores: [queries][keys]) -> the weights of the values, and the running maximum (16 lanes of which a
/// query has one) and sums.
/// key_scales: a tile's scales of K and then of V; null for types that have none. Lanes of queries that see no key of
/// the tile are not used.
template <typename T>
static void soft_max_tile(const AttentionTask& task, const float* key_scales, TileState<T>& tile, float* all_scores,
                          float* max_score, F32x16* sums) {
  constexpr bool HasScales = sizeof(T) == 1;
  F32x16 top[kMaxTaskQueries];
  for (int r = task.num_queries; r < kMaxTaskQueries; ++r) top[r] = zero();
  for (int r = 0; r < task.num_queries; ++r) {
    float* const scores = all_scores + r * kAttentionTile;
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
    if (!tile.whole) {
      hide_keys(scores, tile.from[r], tile.end[r]);
      low = load(scores);
      high = load(scores + 16);
    }
    top[r] = max(low, high);
  }
  const F32x16 before = load(max_score), after = max(before, largest_of_each(top));
  store(max_score, after);
  store(tile.rescale, exp_not_positive(sub(before, after)));
  for (int r = 0; r < task.num_queries; ++r) {
    if (!tile.whole && tile.from[r] >= tile.end[r]) continue;
    float* const scores = all_scores + r * kAttentionTile;
    const F32x16 low = exp_not_positive(sub(load(scores), set1(max_score[r])));
    const F32x16 high = exp_not_positive(sub(load(scores + 16), set1(max_score[r])));
    auto* weights = tile.weights + r * kAttentionTile;
    F32x16 first = low, second = high;
    if constexpr (sizeof(T) == 2) {
      store_rounded(weights, low, high, first, second);
    } else if constexpr (HasScales) {  // scales of hidden keys may be anything: fold_values does not read those weights
      store(weights, mul(low, load(key_scales + kAttentionTile)));
      store(weights + 16, mul(high, load(key_scales + kAttentionTile + 16)));
    } else {
      store(weights, low);
      store(weights + 16, high);
    }
    sums[r] = add(fma(sums[r], set1(tile.rescale[r]), first), second);
  }
}

template <typename T>
static void keep_query(const float* query, int head_dim, typename FoldOf<T>::Stored* out) {
  if constexpr (sizeof(T) != 2) {
    std::memcpy(out, query, sizeof(float) * static_cast<size_t>(head_dim));
    return;
  } else {
    F32x16 even, odd;
    for (int d = 0; d < head_dim; d += 32) {
      store_rounded(out + d, load(query + d), d + 16 < head_dim ? load(query + d + 16) : zero(), even, odd);
    }
  }
}

template <typename T>
static void attend_span_of(const AttentionTask& task, int span, const AttentionPartial& out) {
  const int num_queries = task.num_queries, head_dim = task.head_dim;
  alignas(64) typename FoldOf<T>::Stored queries[kMaxTaskQueries * kQueryStride];
  TileState<T> tile;
  F32x16 sums[kMaxTaskQueries];
  alignas(64) float max_score[16];
  store(max_score, set1(-__builtin_inff()));
  for (int r = 0; r < num_queries; ++r) {
    keep_query<T>(task.queries[r], head_dim, queries + r * kQueryStride);
    sums[r] = zero();
  }
  std::memset(out.acc, 0, sizeof(float) * static_cast<size_t>(num_queries * head_dim));

  const int last_tile = task.positions[num_queries - 1] / kAttentionTile, span_tile = span * kTilesPerSpan;
  const int first_seen = first_visible(task, task.positions[0]) / kAttentionTile;
  const int first_tile = first_seen > span_tile ? first_seen : span_tile;
  const int end_tile = last_tile < span_tile + kTilesPerSpan ? last_tile + 1 : span_tile + kTilesPerSpan;
  const int64_t value_offset = int64_t{kAttentionTile} * head_dim;
  const auto keys_of = [&](int t) {
    return reinterpret_cast<const T*>(task.block0 + task.blocks[t] * task.block_bytes);
  };
  const auto keys_after = [&](int t) {
    if (t < last_tile) return keys_of(t + 1);
    return task.next != nullptr ? reinterpret_cast<const T*>(task.next) : keys_of(t);
  };
  const auto score = [&](int t) {
    for_row_pieces(num_queries, [&]<int R>(int r) {
      score_rows<R, T>(queries + r * kQueryStride, head_dim, keys_of(t), keys_after(t),
                       tile.scores[t % 2] + r * kAttentionTile);
    });
  };
  if (first_tile < end_tile) score(first_tile);
  for (int t = first_tile; t < end_tile; ++t) {
    if (t + 1 < end_tile) score(t + 1);  // the chain of operations of this tile's soft max is hidden behind it
    const T* const values = keys_of(t) + value_offset;
    const T* const ahead = keys_after(t) + value_offset;
    visible_keys(task, t * kAttentionTile, tile);
    constexpr bool kHasScales = sizeof(T) == 1;
    if constexpr (kHasScales) {
      for (int i = 0; i < 4; ++i) prefetch(ahead + value_offset + 64 * i);
    }
    const float* const scales = kHasScales ? reinterpret_cast<const float*>(values + value_offset) : nullptr;
    soft_max_tile<T>(task, scales, tile, tile.scores[t % 2], max_score, sums);
    fold_values(task, tile, values, ahead, out.acc);
  }
  for (int r = 0; r < num_queries; ++r) {
    const int position = task.positions[r];
    const bool saw_keys =
        position >= span * kAttentionSpan && first_visible(task, position) < (span + 1) * kAttentionSpan;
    out.max[r] = max_score[r];
    out.sum[r] = saw_keys ? sum_lanes(sums[r]) : -1.0f;
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
  const int head_dim = task.head_dim, num_queries = task.num_queries;
  const F32x16 max_a = load_first(total.max, num_queries), max_b = load_first(span.max, num_queries);
  const F32x16 top = max(max_a, max_b);
  const F32x16 a = exp_not_positive(sub(max_a, top)), b = exp_not_positive(sub(max_b, top));
  alignas(64) float maxima[16], sums[16], factors_a[16], factors_b[16];
  store(maxima, top);
  store(sums, fma(load_first(total.sum, num_queries), a, mul(load_first(span.sum, num_queries), b)));
  store(factors_a, a);
  store(factors_b, b);
  for (int r = 0; r < num_queries; ++r) {
    if (span.sum[r] < 0) continue;
    float* acc = total.acc + r * head_dim;
    const float* other = span.acc + r * head_dim;
    if (total.sum[r] < 0) {
      total.max[r] = span.max[r];
      total.sum[r] = span.sum[r];
      std::memcpy(acc, other, sizeof(float) * static_cast<size_t>(head_dim));
      continue;
    }
    total.max[r] = maxima[r];
    total.sum[r] = sums[r];
    const F32x16 factor_a = set1(factors_a[r]), factor_b = set1(factors_b[r]);
    for (int d = 0; d < head_dim; d += 16) {
      store(acc + d, fma(load(acc + d), factor_a, mul(load(other + d), factor_b)));
    }
  }
}

static void finish_attention(const AttentionTask& task, const AttentionPartial& total, float* out) {
  for (int r = 0; r < task.num_queries; ++r) {
    const F32x16 sum = set1(total.sum[r]);
    for (int d = r * task.head_dim; d < (r + 1) * task.head_dim; d += 16) store(out + d, div(load(total.acc + d), sum));
  }
}

}  // namespace echelon::cpu::ECHELON_ISA
