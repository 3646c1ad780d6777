// The choice of kernels at run time: cpuid through the compiler's own tables, or by name.
#include "kernels/cpu/cpu_isa.h"

#include <cpuid.h>
#include <fmt/format.h>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/logits.h"

namespace echelon {

std::string_view to_string(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::portable:
      return "portable";
    case CpuIsa::avx2:
      return "avx2";
    case CpuIsa::avx512:
      return "avx512";
    case CpuIsa::avx512_vnni:
      return "avx512-vnni";
    case CpuIsa::avx512_bf16:
      return "avx512-bf16";
  }
  ECHELON_CHECK(false, "instruction set {}", static_cast<int>(isa));
  return {};
}

CpuIsa best_cpu_isa() { return cpu::available_isas().back(); }

CpuIsa parse_cpu_isa(std::string_view name) {
  if (name == "auto") return best_cpu_isa();
  for (CpuIsa isa : cpu::kAllIsas) {
    const bool is_short_name =
        (isa == CpuIsa::avx512_vnni && name == "vnni") || (isa == CpuIsa::avx512_bf16 && name == "bf16");
    if (to_string(isa) != name && !is_short_name) continue;
    if (!cpu::has_isa(isa)) {
      throw Error(Part::kernels, fmt::format("instruction set {}: this processor lacks it; its best is {}", name,
                                             to_string(best_cpu_isa())));
    }
    return isa;
  }
  throw Error(Part::kernels,
              fmt::format("instruction set '{}': expected auto, portable, avx2, avx512, vnni or bf16", name));
}

namespace cpu {

namespace {

/// clang 14 has no name for it in __builtin_cpu_supports.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

bool has_isa(CpuIsa isa) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  switch (isa) {
    case CpuIsa::portable:
      return true;
    case CpuIsa::avx2:
      return avx2;
    case CpuIsa::avx512:
      return avx512;
    case CpuIsa::avx512_vnni:
      return vnni;
    case CpuIsa::avx512_bf16:
      return vnni && __builtin_cpu_supports("avx512bf16");
  }
  return false;
}

std::vector<CpuIsa> available_isas() {
  std::vector<CpuIsa> available;
  for (CpuIsa isa : kAllIsas) {
    if (has_isa(isa)) available.push_back(isa);
  }
  return available;
}

bool prefers_prefetch_into_l1() {
  static const bool is_zen5 = [] {
    __builtin_cpu_init();
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__builtin_cpu_is("amd") || __get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
    const unsigned family = ((eax >> 8) & 15) + ((eax >> 20) & 255);
    return family == 26;
  }();
  return is_zen5;
}

const OpKernels& op_kernels(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::portable:
      return portable::op_kernels();
    case CpuIsa::avx2:
      return avx2::op_kernels();
    case CpuIsa::avx512:
    case CpuIsa::avx512_vnni:  // no integer dots here
      return avx512::op_kernels();
    case CpuIsa::avx512_bf16:
      return bf16::op_kernels();
  }
  check_failed("isa", __FILE__, __LINE__, "unknown instruction set");
}

namespace portable {
const LogitKernels& logit_kernels();
}
namespace avx2 {
const LogitKernels& logit_kernels();
}
namespace avx512 {
const LogitKernels& logit_kernels();
}

}  // namespace cpu

const LogitKernels& logit_kernels(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::portable:
      return cpu::portable::logit_kernels();
    case CpuIsa::avx2:
      return cpu::avx2::logit_kernels();
    case CpuIsa::avx512:
    case CpuIsa::avx512_vnni:
    case CpuIsa::avx512_bf16:
      return cpu::avx512::logit_kernels();
  }
  check_failed("isa", __FILE__, __LINE__, "unknown instruction set");
}

}  // namespace echelon
