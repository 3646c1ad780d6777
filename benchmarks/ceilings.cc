// The loops of ceilings.h. Look at their disassembly before a share of them means anything: accumulators in registers,
// at least eight of them.
// g++ 12 takes the deliberately undefined operand inside its own AVX-512 intrinsics for a mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include "benchmarks/ceilings.h"

#include <immintrin.h>

#include <chrono>

#include "kernels/base/check.h"
#include "kernels/cpu/cpu_isa.h"

namespace echelon::bench {
namespace {

// Every loop over the sums is unrolled: one that is not gives them addresses, and then they lie in memory. An empty asm
// that may change an operand costs nothing; after it the compiler computes again what it had from that operand, merges
// no equal sums, and keeps the order of additions (another one needs more registers).

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void vnni_dots(int64_t rounds) {
  __m512i acc[kDotsARound];
#pragma GCC unroll 12
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  const __m512i x = _mm512_set1_epi32(0x01020304), y = _mm512_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& a : acc) {
      a = _mm512_dpbusd_epi32(a, x, y);
      asm volatile("" : "+v"(a));
    }
  }
#pragma GCC unroll 12
  for (const __m512i& a : acc) asm volatile("" ::"v"(a));
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void vnni_inner_loop(int64_t rounds) {
  constexpr int kRows = 8;
  __m512i activation[kRows];
  __m512 acc[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    activation[r] = _mm512_set1_epi32(0x3f80403f + r);  // as codes and, near 1, as scales; another one for every row
    acc[r] = _mm512_setzero_ps();
  }
  __m512i weights = _mm512_set1_epi32(0x01020304);
  __m512 scale = _mm512_set1_ps(0.5f), minimum = _mm512_set1_ps(-0.5f);
  for (int64_t i = 0; i < rounds; ++i) {
    __m512i dot[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) dot[r] = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int quad = 0; quad < 8; ++quad) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) dot[r] = _mm512_dpbusd_epi32(dot[r], weights, activation[r]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 as_scale = _mm512_castsi512_ps(activation[r]);
      acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), _mm512_mul_ps(scale, as_scale), acc[r]);
      acc[r] = _mm512_fmadd_ps(minimum, as_scale, acc[r]);
    }
    asm volatile("" : "+v"(weights), "+v"(scale), "+v"(minimum));
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) asm volatile("" ::"v"(acc[r]));
}

/// vpmaddubsw and vpaddw, 256 bits.
__attribute__((target("avx2"))) void avx2_dots(int64_t rounds) {
  __m256i acc[kDotsARound];
#pragma GCC unroll 12
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  __m256i x = _mm256_set1_epi32(0x01020304), y = _mm256_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m256i& a : acc) {
      a = _mm256_add_epi16(a, _mm256_maddubs_epi16(x, y));
      asm volatile("" : "+x"(x), "+x"(y));
    }
  }
#pragma GCC unroll 12
  for (const __m256i& a : acc) asm volatile("" ::"x"(a));
}

__attribute__((target("avx2,fma"))) void avx2_inner_loop(int64_t rounds) {
  constexpr int kRows = 4;
  __m256 acc[kRows];
#pragma GCC unroll 4
  for (__m256& a : acc) a = _mm256_setzero_ps();
  __m256i weights = _mm256_set1_epi32(0x01020304), activation = _mm256_set1_epi32(0x3f80403f);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 scale = _mm256_set1_ps(0.5f), minimum = _mm256_set1_ps(-0.5f);
  for (int64_t i = 0; i < rounds; ++i) {
    __m256i sum[kRows];
#pragma GCC unroll 8
    for (int quad = 0; quad < 8; ++quad) {
#pragma GCC unroll 4
      for (__m256i& s : sum) {
        asm volatile("" : "+x"(activation));
        const __m256i products = _mm256_maddubs_epi16(weights, activation);
        s = quad == 0 ? products : _mm256_add_epi16(s, products);
        asm volatile("" : "+x"(s));
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      asm volatile("" : "+x"(activation));
      const __m256 as_scale = _mm256_castsi256_ps(activation);
      const __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(sum[r], ones));
      acc[r] = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, as_scale), acc[r]);
      acc[r] = _mm256_fmadd_ps(minimum, as_scale, acc[r]);
    }
    asm volatile("" : "+x"(weights), "+x"(scale), "+x"(minimum));
  }
#pragma GCC unroll 4
  for (const __m256& a : acc) asm volatile("" ::"x"(a));
}

__attribute__((target("avx512f,avx512bw"))) void avx512_dots(int64_t rounds) {
  __m512i acc[kDotsARound];
#pragma GCC unroll 12
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  __m512i x = _mm512_set1_epi32(0x01020304), y = _mm512_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& a : acc) {
      a = _mm512_add_epi16(a, _mm512_maddubs_epi16(x, y));
      asm volatile("" : "+v"(x), "+v"(y));
    }
  }
#pragma GCC unroll 12
  for (const __m512i& a : acc) asm volatile("" ::"v"(a));
}

enum class Into { nothing, l2, l1 };

/// One Zen 5 core: 44 GB/s without prefetch, 55 into L1. One Zen 4 core: 28, 34 into L2 640 bytes or 2.5 KB ahead.
template <Into kInto, size_t kBytesAhead>
__attribute__((target("avx2"))) void read_ahead(const std::byte* data, size_t size_bytes) {
  __m256i acc[8];
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  for (size_t i = 0; i + 256 <= size_bytes; i += 256) {
    for (size_t j = 0; j < 256; j += 64) {
      if constexpr (kInto != Into::nothing) {
        __builtin_prefetch(data + i + kBytesAhead + j, 0, kInto == Into::l1 ? 3 : 2);
      }
    }
    for (size_t j = 0; j < 8; ++j) {
      acc[j] = _mm256_xor_si256(acc[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
    }
  }
  for (const __m256i& a : acc) asm volatile("" ::"x"(a));
}

__attribute__((target("avx512f,avx512bw"))) void avx512_inner_loop(int64_t rounds) {
  constexpr int kRows = 8;
  __m512 acc[kRows];
#pragma GCC unroll 8
  for (__m512& a : acc) a = _mm512_setzero_ps();
  __m512i weights = _mm512_set1_epi32(0x01020304), activation = _mm512_set1_epi32(0x3f80403f);
  const __m512i ones = _mm512_set1_epi16(1);
  __m512 scale = _mm512_set1_ps(0.5f), minimum = _mm512_set1_ps(-0.5f);
  for (int64_t i = 0; i < rounds; ++i) {
    __m512i sum[kRows];
#pragma GCC unroll 8
    for (int quad = 0; quad < 8; ++quad) {
#pragma GCC unroll 8
      for (__m512i& s : sum) {
        asm volatile("" : "+v"(activation));
        const __m512i products = _mm512_maddubs_epi16(weights, activation);
        s = quad == 0 ? products : _mm512_add_epi16(s, products);
        asm volatile("" : "+v"(s));
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      asm volatile("" : "+v"(activation));
      const __m512 as_scale = _mm512_castsi512_ps(activation);
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_madd_epi16(sum[r], ones));
      acc[r] = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, as_scale), acc[r]);
      acc[r] = _mm512_fmadd_ps(minimum, as_scale, acc[r]);
    }
    asm volatile("" : "+v"(weights), "+v"(scale), "+v"(minimum));
  }
#pragma GCC unroll 8
  for (const __m512& a : acc) asm volatile("" ::"v"(a));
}

}  // namespace

int macs_of_dot(CpuIsa isa) { return isa == CpuIsa::avx2 ? 32 : 64; }

void run_dots(CpuIsa isa, int64_t rounds) {
  ECHELON_CHECK(isa != CpuIsa::portable && cpu::has_isa(isa));
  if (isa >= CpuIsa::avx512_vnni) return vnni_dots(rounds);
  if (isa == CpuIsa::avx512) return avx512_dots(rounds);
  avx2_dots(rounds);
}

int64_t macs_of_inner_loop(CpuIsa isa) { return isa == CpuIsa::avx2 ? 4 * 8 * 32 : 8 * 16 * 32; }

void run_inner_loop(CpuIsa isa, int64_t rounds) {
  ECHELON_CHECK(isa != CpuIsa::portable && cpu::has_isa(isa));
  if (isa >= CpuIsa::avx512_vnni) return vnni_inner_loop(rounds);
  if (isa == CpuIsa::avx512) return avx512_inner_loop(rounds);
  avx2_inner_loop(rounds);
}

void read_all(const std::byte* data, size_t size_bytes) {
  using Loop = void (*)(const std::byte*, size_t);
  static const Loop fastest = [&] {
    Loop best = nullptr;
    auto least = std::chrono::steady_clock::duration::max();
    for (int i = 0; i < 5; ++i) {
      for (const Loop loop : {read_ahead<Into::nothing, 0>, read_ahead<Into::l2, 640>, read_ahead<Into::l2, 2560>,
                              read_ahead<Into::l1, 10240>}) {
        const auto begin = std::chrono::steady_clock::now();
        loop(data, size_bytes);
        const auto time = std::chrono::steady_clock::now() - begin;
        if (time < least) {
          least = time;
          best = loop;
        }
      }
    }
    return best;
  }();
  fastest(data, size_bytes);
}

}  // namespace echelon::bench
