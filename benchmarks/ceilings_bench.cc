// What do the cores of this machine do at best, one alone and all together? int8 dots from registers and a read of
// memory that no cache holds, in wall time: each pass starts on all threads at once and counts until the last one is
// done; best of the passes. Prints two lines a thread count; others on the machine lower them.
#include <fmt/format.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "benchmarks/ceilings.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/cpu_isa.h"

namespace echelon::bench {
namespace {

constexpr int kPasses = 20;
constexpr int64_t kRounds = 2'000'000;
constexpr size_t kBytesOfAThread = size_t{128} << 20;

/// The best wall time of `pass(thread)` on `num_threads` threads at once.
double best_seconds(int num_threads, const std::function<void(int)>& pass) {
  using Clock = std::chrono::steady_clock;
  std::barrier<> together(num_threads);
  double best = 1e30;
  std::vector<std::jthread> threads;
  for (int t = 0; t < num_threads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPasses; ++i) {
        together.arrive_and_wait();
        const Clock::time_point start = Clock::now();
        pass(t);
        together.arrive_and_wait();
        if (t == 0) best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
      }
    });
  }
  threads.clear();
  return best;
}

void measure(int num_threads, const std::vector<std::unique_ptr<cpu::AlignedMemory>>& memory) {
  const char* const names[] = {"", "vpmaddubsw + vpaddw, 256 bits", "vpmaddubsw + vpaddw, 512 bits",
                               "vpdpbusd, 512 bits"};
  const char* const plural = num_threads == 1 ? "thread" : "threads";
  for (const CpuIsa isa : {CpuIsa::avx512_vnni, CpuIsa::avx512, CpuIsa::avx2}) {
    if (!cpu::has_isa(isa)) continue;
    const double macs = static_cast<double>(kDotsARound * macs_of_dot(isa) * kRounds) * num_threads;
    const double seconds = best_seconds(num_threads, [isa](int) { run_dots(isa, kRounds); });
    fmt::print("{} {}: {:.0f} G MAC/s of int8 ({})\n", num_threads, plural, macs / seconds * 1e-9,
               names[static_cast<int>(isa)]);
    break;
  }
  if (!cpu::has_isa(CpuIsa::avx2)) return;
  const double seconds =
      best_seconds(num_threads, [&](int t) { read_all(memory[static_cast<size_t>(t)]->data(), kBytesOfAThread); });
  fmt::print("{} {}: {:.1f} GB/s read\n", num_threads, plural,
             static_cast<double>(kBytesOfAThread) * num_threads / seconds * 1e-9);
}

int run() {
  const int num_cores = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 256U));
  std::vector<std::unique_ptr<cpu::AlignedMemory>> memory;
  for (int t = 0; t < num_cores; ++t) {
    memory.push_back(std::make_unique<cpu::AlignedMemory>(kBytesOfAThread));
    std::fill_n(memory.back()->data(), kBytesOfAThread, std::byte{1});
  }
  measure(1, memory);
  if (num_cores > 1) measure(num_cores, memory);
  return 0;
}

}  // namespace
}  // namespace echelon::bench

int main() { return echelon::bench::run(); }
