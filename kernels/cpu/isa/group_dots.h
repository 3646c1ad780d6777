// Exact integer dots of one packed group (16 features x 32 columns) with R rows of activation codes, for each
// instruction set. Exact means: the order of additions cannot be seen, so each set may take its own way. Bounds are
// beside each way. B blocks of features lie `block_bytes` apart. The compiler takes another order of additions, too: all
// products first, which then spill; keep_order(sum) costs nothing and holds it to the order written.
//
// u4: codes 0..15, 256 bytes; `start` is null or the R numbers from which the sums start (-zero * sum of the activation
// codes). u8: codes 0..255, 512 bytes, less 128 where kCentred; `minus_128`: -128 * sum of the activation codes, R
// numbers. u8_half<H>: columns [16 H, 16 H + 16) of it. Layout: product_kernels.h.
#pragma once

#include "kernels/cpu/isa/product_kernels.h"
#include "kernels/cpu/simd.h"

namespace echelon::cpu::ECHELON_ISA {

static inline int32_t load_quad(const int8_t* q) {
  int32_t quad;
  std::memcpy(&quad, q, sizeof quad);
  return quad;
}

#if defined(__AVX512F__)

static inline __m512i load_line(const uint8_t* p) { return _mm512_loadu_si512(p); }
static inline __m512i low_nibbles(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline __m512i high_nibbles(__m512i v) {
  return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}
static inline __m512i row_quad(const int8_t (*q)[32], int row, int quad) {
  return _mm512_set1_epi32(load_quad(q[row] + 4 * quad));
}

#if defined(__AVX512VNNI__)

template <int B, int R>
static inline void start_sums(const int32_t* start, I32x16 (&dot)[B][R]) {
  for (int b = 0; b < B; ++b) {
    for (int r = 0; r < R; ++r) dot[b][r].v = start ? _mm512_set1_epi32(start[r]) : _mm512_setzero_si512();
  }
}

/// dot[b][r] += lines[b] * quad `quad` of row r: an activation is loaded once for all blocks.
template <int B, int R>
static inline void add_dots(const __m512i (&lines)[B], const int8_t (*q)[32], int quad, I32x16 (&dot)[B][R]) {
  for (int r = 0; r < R; ++r) {
    const __m512i activation = row_quad(q, r, quad);
    for (int b = 0; b < B; ++b) dot[b][r].v = _mm512_dpbusd_epi32(dot[b][r].v, lines[b], activation);
  }
}

template <int B, int R>
static inline void dots_u4(const uint8_t* codes, int64_t block_bytes, const int8_t (*q)[32], const int32_t* start,
                           I32x16 (&dot)[B][R]) {
  start_sums(start, dot);
  for (int j = 0; j < 4; ++j) {
    __m512i low[B], high[B];
    for (int b = 0; b < B; ++b) {
      const __m512i line = load_line(codes + b * block_bytes + 64 * j);
      low[b] = low_nibbles(line);
      high[b] = high_nibbles(line);
    }
    add_dots(low, q, j, dot);
    add_dots(high, q, 4 + j, dot);
  }
}

template <int First, int End, bool kCentred, int B, int R>
static inline void dots_u8_quads(const uint8_t* codes, int64_t block_bytes, const int8_t (*q)[32],
                                 const int32_t* minus_128, I32x16 (&dot)[B][R]) {
  start_sums(kCentred ? minus_128 : nullptr, dot);
  for (int j = First; j < End; ++j) {
    __m512i lines[B];
    for (int b = 0; b < B; ++b) lines[b] = load_line(codes + b * block_bytes + 64 * j);
    add_dots(lines, q, j, dot);
  }
}

#else  // vpmaddubsw adds two products of a nibble and a code: 8 of those, at most 8 * 2 * 15 * 127 = 30480, fit int16

static inline void keep_order(__m512i& sum) { asm("" : "+v"(sum)); }

template <int R>
static inline void add_products(__m512i line, const int8_t (*q)[32], int quad, bool first, __m512i (&sum)[R]) {
  for (int r = 0; r < R; ++r) {
    const __m512i products = _mm512_maddubs_epi16(line, row_quad(q, r, quad));
    sum[r] = first ? products : _mm512_add_epi16(sum[r], products);
    keep_order(sum[r]);
  }
}

template <int R>
static inline void block_dots_u4(const uint8_t* codes, const int8_t (*q)[32], const int32_t* start, I32x16 (&dot)[R]) {
  __m512i sum[R];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i line = load_line(codes + 64 * j);
    add_products(low_nibbles(line), q, j, j == 0, sum);
    add_products(high_nibbles(line), q, 4 + j, false, sum);
  }
  const __m512i ones = _mm512_set1_epi16(1);
  for (int r = 0; r < R; ++r) {
    dot[r].v = _mm512_madd_epi16(sum[r], ones);
    if (start) dot[r].v = _mm512_add_epi32(dot[r].v, _mm512_set1_epi32(start[r]));
  }
}

/// A code is c + 128: |c| times the activation with c's sign, whose pairs, at most 2 * 128 * 127 = 32512, fit int16.
/// Two pairs do not, so each becomes int32.
template <int First, int End, bool kCentred, int R>
static inline void block_dots_u8_quads(const uint8_t* codes, const int8_t (*q)[32], const int32_t* minus_128,
                                       I32x16 (&dot)[R]) {
  const __m512i ones = _mm512_set1_epi16(1), zeros = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int j = First; j < End; ++j) {
    const __m512i c = _mm512_xor_si512(load_line(codes + 64 * j), _mm512_set1_epi8(-128));
    const __m512i magnitude = _mm512_abs_epi8(c);
    const __mmask64 negative = _mm512_movepi8_mask(c);
    for (int r = 0; r < R; ++r) {
      const __m512i quad = row_quad(q, r, j);
      const __m512i pairs = _mm512_maddubs_epi16(magnitude, _mm512_mask_sub_epi8(quad, negative, zeros, quad));
      const __m512i products = _mm512_madd_epi16(pairs, ones);
      dot[r].v = j == First ? products : _mm512_add_epi32(dot[r].v, products);
      keep_order(dot[r].v);
    }
  }
  if constexpr (!kCentred) {
    for (int r = 0; r < R; ++r) dot[r].v = _mm512_sub_epi32(dot[r].v, _mm512_set1_epi32(minus_128[r]));
  }
}

#endif  // VNNI

#elif defined(__AVX2__)  // as AVX-512 without VNNI, in halves of 8 features; same bounds

static inline __m256i load_half(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
static inline __m256i low_nibbles(__m256i v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
static inline __m256i high_nibbles(__m256i v) {
  return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
}
static inline __m256i row_quad(const int8_t (*q)[32], int row, int quad) {
  return _mm256_set1_epi32(load_quad(q[row] + 4 * quad));
}
static inline void keep_order(__m256i& sum) { asm("" : "+x"(sum)); }

/// The sums of quads, in halves of 8 features; an activation is loaded once for both.
struct I16x32 {
  __m256i lo, hi;
};

template <int R>
static inline void add_products(__m256i lo, __m256i hi, const int8_t (*q)[32], int quad, bool first, I16x32 (&sum)[R]) {
  for (int r = 0; r < R; ++r) {
    const __m256i activation = row_quad(q, r, quad);
    const __m256i a = _mm256_maddubs_epi16(lo, activation), b = _mm256_maddubs_epi16(hi, activation);
    sum[r].lo = first ? a : _mm256_add_epi16(sum[r].lo, a);
    sum[r].hi = first ? b : _mm256_add_epi16(sum[r].hi, b);
    keep_order(sum[r].lo);
    keep_order(sum[r].hi);
  }
}

template <int R>
static inline void block_dots_u4(const uint8_t* codes, const int8_t (*q)[32], const int32_t* start, I32x16 (&dot)[R]) {
  I16x32 sum[R];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i lo = load_half(codes + 64 * j), hi = load_half(codes + 64 * j + 32);
    add_products(low_nibbles(lo), low_nibbles(hi), q, j, j == 0, sum);
    add_products(high_nibbles(lo), high_nibbles(hi), q, 4 + j, false, sum);
  }
  const __m256i ones = _mm256_set1_epi16(1);
  for (int r = 0; r < R; ++r) {
    dot[r] = {_mm256_madd_epi16(sum[r].lo, ones), _mm256_madd_epi16(sum[r].hi, ones)};
    if (start) {
      const __m256i first = _mm256_set1_epi32(start[r]);
      dot[r] = {_mm256_add_epi32(dot[r].lo, first), _mm256_add_epi32(dot[r].hi, first)};
    }
  }
}

static inline void add_pairs(__m256i magnitude, __m256i c, __m256i quad, bool first, __m256i& dot) {
  const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(quad, c));
  const __m256i products = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  dot = first ? products : _mm256_add_epi32(dot, products);
  keep_order(dot);
}

template <int First, int End, bool kCentred, int R>
static inline void block_dots_u8_quads(const uint8_t* codes, const int8_t (*q)[32], const int32_t* minus_128,
                                       I32x16 (&dot)[R]) {
  const __m256i top_bits = _mm256_set1_epi8(-128);
#pragma GCC unroll 8
  for (int j = First; j < End; ++j) {
    const __m256i lo = _mm256_xor_si256(load_half(codes + 64 * j), top_bits),
                  hi = _mm256_xor_si256(load_half(codes + 64 * j + 32), top_bits);
    const __m256i lo_magnitude = _mm256_abs_epi8(lo), hi_magnitude = _mm256_abs_epi8(hi);
    for (int r = 0; r < R; ++r) {
      const __m256i quad = row_quad(q, r, j);
      add_pairs(lo_magnitude, lo, quad, j == First, dot[r].lo);
      add_pairs(hi_magnitude, hi, quad, j == First, dot[r].hi);
    }
  }
  if constexpr (!kCentred) {
    for (int r = 0; r < R; ++r) {
      const __m256i sums = _mm256_set1_epi32(minus_128[r]);
      dot[r] = {_mm256_sub_epi32(dot[r].lo, sums), _mm256_sub_epi32(dot[r].hi, sums)};
    }
  }
}

#else  // portable

template <int R>
static inline void block_dots_u4(const uint8_t* codes, const int8_t (*q)[32], const int32_t* start, I32x16 (&dot)[R]) {
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < 16; ++c) dot[r].v[c] = start ? start[r] : 0;
    for (int j = 0; j < 4; ++j) {
      for (int c = 0; c < 16; ++c) {
        for (int b = 0; b < 4; ++b) {
          const int code = codes[64 * j + 4 * c + b];
          dot[r].v[c] += (code & 15) * q[r][4 * j + b] + (code >> 4) * q[r][16 + 4 * j + b];
        }
      }
    }
  }
}

template <int First, int End, bool kCentred, int R>
static inline void block_dots_u8_quads(const uint8_t* codes, const int8_t (*q)[32], const int32_t* minus_128,
                                       I32x16 (&dot)[R]) {
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < 16; ++c) dot[r].v[c] = kCentred ? minus_128[r] : 0;
    for (int j = First; j < End; ++j) {
      for (int c = 0; c < 16; ++c) {
        for (int b = 0; b < 4; ++b) dot[r].v[c] += codes[64 * j + 4 * c + b] * q[r][4 * j + b];
      }
    }
  }
}

#endif

#if !defined(__AVX512VNNI__)

template <int B, int R>
static inline void dots_u4(const uint8_t* codes, int64_t block_bytes, const int8_t (*q)[32], const int32_t* start,
                           I32x16 (&dot)[B][R]) {
  for (int b = 0; b < B; ++b) block_dots_u4(codes + b * block_bytes, q, start, dot[b]);
}

template <int First, int End, bool kCentred, int B, int R>
static inline void dots_u8_quads(const uint8_t* codes, int64_t block_bytes, const int8_t (*q)[32],
                                 const int32_t* minus_128, I32x16 (&dot)[B][R]) {
  for (int b = 0; b < B; ++b) {
    block_dots_u8_quads<First, End, kCentred>(codes + b * block_bytes, q, minus_128, dot[b]);
  }
}

#endif

template <bool kCentred, int B, int R>
static inline void dots_u8(const uint8_t* codes, int64_t block_bytes, const int8_t (*q)[32], const int32_t* minus_128,
                           I32x16 (&dot)[B][R]) {
  dots_u8_quads<0, 8, kCentred>(codes, block_bytes, q, minus_128, dot);
}

template <int Half, bool kCentred, int B, int R>
static inline void dots_u8_half(const uint8_t* codes, int64_t block_bytes, const int8_t (*q)[32],
                                const int32_t* minus_128, I32x16 (&dot)[B][R]) {
  dots_u8_quads<4 * Half, 4 * Half + 4, kCentred>(codes, block_bytes, q, minus_128, dot);
}

}  // namespace echelon::cpu::ECHELON_ISA
