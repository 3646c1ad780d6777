// Figures without sparsity, from NVIDIA's datasheets: "A100 Tensor Core GPU" (2021), "H100 Tensor Core GPU" (SXM5),
// "H200 Tensor Core GPU" (SXM), "DGX B200" (one of its eight GPUs). NVLink as half of what the datasheet gives for both
// directions; InfiniBand HDR is 200 Gbit/s, NDR 400. Latencies are estimates: a small gather over NVLink 4 us (one-shot
// all-reduce of 4 KB on H100, sglang #2904), over InfiniBand 15 us, a layer ten short kernels of a graph.
#include "engine/planner/device_table.h"

#include <algorithm>

namespace echelon {
namespace {

constexpr double kTera = 1e12, kGiga = 1e9;
constexpr double kMicrosecond = 1e-6;
/// Of GPU memory that weights and activations leave. No backend allocates there yet; the rest is for the driver's own.
constexpr double kGpuKvShare = 0.9;

struct GpuFigures {
  std::string name, description, source;
  double memory_gb, memory_tb_per_s;
  double int8_tera, bf16_tera, f32_tera;
  double nvlink_gb_per_s, infiniband_gb_per_s;
};

Device gpu(const GpuFigures& figures) {
  return {.name = figures.name,
          .description = figures.description,
          .source = figures.source +
                    "; latencies are estimates, and there is no GPU backend yet: bytes are as the CPU packs weights",
          .memory_bytes = static_cast<uint64_t>(figures.memory_gb * kGiga),
          .kv_share = kGpuKvShare,
          .rank = {.bytes_per_s = figures.memory_tb_per_s * kTera,
                   .products = {figures.int8_tera * kTera, figures.bf16_tera * kTera, figures.f32_tera * kTera},
                   .attention = figures.bf16_tera * kTera,
                   .decode_attention = figures.bf16_tera * kTera},
          .host = {},
          .within_host = {.bytes_per_s = figures.nvlink_gb_per_s * kGiga, .latency_s = 4 * kMicrosecond},
          .between_hosts = {.bytes_per_s = figures.infiniband_gb_per_s * kGiga, .latency_s = 15 * kMicrosecond},
          .layer_latency_s = 10 * kMicrosecond,
          .batch_latency_s = 100 * kMicrosecond,
          .ranks_per_host = 8};
}

}  // namespace

double RowRate::at(double rows) const {
  if (rows >= kRows.back() || rates_.back() == 0) return rates_.back();
  size_t after = 1;
  while (after + 1 < kRows.size() && rows > kRows[after]) ++after;
  const double first = kRows[after - 1], last = kRows[after];
  const double share = (std::max(rows, first) - first) / (last - first);
  const double time = (1 - share) * first / rates_[after - 1] + share * last / rates_[after];
  return std::max(rows, first) / time;
}

const std::vector<Device>& device_table() {
  static const std::vector<Device> table{
      gpu({.name = "a100",
           .description = "NVIDIA A100 SXM4 80 GB, NVLink 3, InfiniBand HDR",
           .source = "datasheet, checked against hmc-tech.com/gpus/nvidia-a100-sxm-vs-nvidia-b200",
           .memory_gb = 80,
           .memory_tb_per_s = 2.039,
           .int8_tera = 624,
           .bf16_tera = 312,
           .f32_tera = 19.5,
           .nvlink_gb_per_s = 300,
           .infiniband_gb_per_s = 25}),
      gpu({.name = "h100",
           .description = "NVIDIA H100 SXM5 80 GB, NVLink 4, InfiniBand NDR",
           .source = "datasheet, checked against glennklockwood.com/garden/processors/h100",
           .memory_gb = 80,
           .memory_tb_per_s = 3.35,
           .int8_tera = 1979,
           .bf16_tera = 989.5,
           .f32_tera = 67,
           .nvlink_gb_per_s = 450,
           .infiniband_gb_per_s = 50}),
      gpu({.name = "h200",
           .description = "NVIDIA H200 SXM 141 GB, NVLink 4, InfiniBand NDR",
           .source = "datasheet, its memory unchecked; arithmetic as H100's",
           .memory_gb = 141,
           .memory_tb_per_s = 4.8,
           .int8_tera = 1979,
           .bf16_tera = 989.5,
           .f32_tera = 67,
           .nvlink_gb_per_s = 450,
           .infiniband_gb_per_s = 50}),
      gpu({.name = "b200",
           .description = "NVIDIA B200 180 GB, NVLink 5, InfiniBand NDR",
           .source = "datasheet of DGX B200, an eighth, checked against glennklockwood.com/garden/processors/B200",
           .memory_gb = 180,
           .memory_tb_per_s = 8,
           .int8_tera = 4500,
           .bf16_tera = 2250,
           .f32_tera = 75,
           .nvlink_gb_per_s = 900,
           .infiniband_gb_per_s = 50}),
  };
  return table;
}

const Device* find_device(const std::string& name) {
  const std::vector<Device>& table = device_table();
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Device& device) { return device.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace echelon
