// The loops of ceilings.h. Look at their disassembly before a share of them means anything: accumulators in registers,
// at least eight of them.
#include "benchmarks/ceilings.h"

#include <immintrin.h>

#include "kernels/base/check.h"
#include "kernels/cpu/cpu_isa.h"

namespace echelon::bench {
namespace {

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void vnni_dots(int64_t rounds) {
  __m512i acc[kDotsARound];
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  __m512i x = _mm512_set1_epi32(0x01020304), y = _mm512_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& a : acc) a = _mm512_dpbusd_epi32(a, x, y);
    asm volatile("" : "+v"(x), "+v"(y));
  }
  for (const __m512i& a : acc) asm volatile("" ::"v"(a));
}

/// vpmaddubsw and vpaddw, 256 bits.
__attribute__((target("avx2"))) void avx2_dots(int64_t rounds) {
  __m256i acc[kDotsARound];
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  __m256i x = _mm256_set1_epi32(0x01020304), y = _mm256_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m256i& a : acc) {
      a = _mm256_add_epi16(a, _mm256_maddubs_epi16(x, y));
      asm volatile("" : "+x"(x), "+x"(y));
    }
  }
  for (const __m256i& a : acc) asm volatile("" ::"x"(a));
}

__attribute__((target("avx512f,avx512bw"))) void avx512_dots(int64_t rounds) {
  __m512i acc[kDotsARound];
  for (__m512i& a : acc) a = _mm512_setzero_si512();
  __m512i x = _mm512_set1_epi32(0x01020304), y = _mm512_set1_epi32(0x01010101);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m512i& a : acc) {
      a = _mm512_add_epi16(a, _mm512_maddubs_epi16(x, y));
      asm volatile("" : "+v"(x), "+v"(y));
    }
  }
  for (const __m512i& a : acc) asm volatile("" ::"v"(a));
}

}  // namespace

int macs_of_dot(CpuIsa isa) { return isa == CpuIsa::avx2 ? 32 : 64; }

void run_dots(CpuIsa isa, int64_t rounds) {
  ECHELON_CHECK(isa != CpuIsa::portable && cpu::has_isa(isa));
  if (isa == CpuIsa::avx512_vnni) return vnni_dots(rounds);
  if (isa == CpuIsa::avx512) return avx512_dots(rounds);
  avx2_dots(rounds);
}

__attribute__((target("avx2"))) void read_all(const std::byte* data, size_t size_bytes) {
  __m256i acc[8];
  for (__m256i& a : acc) a = _mm256_setzero_si256();
  for (size_t i = 0; i + 256 <= size_bytes; i += 256) {
    for (size_t j = 0; j < 8; ++j) {
      acc[j] = _mm256_xor_si256(acc[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
    }
  }
  for (const __m256i& a : acc) asm volatile("" ::"x"(a));
}

}  // namespace echelon::bench
