// Question: what does the window save against MPI_Allreduce for the exchange after a row-parallel product? Run on two
// ranks (benchmarks/parts.py does it, with the settings of launch/run); each line is one size: microseconds (tenth
// percentile) of all_gather through the window and the sum of the parts, of MPI_Allreduce of as many bytes of float32,
// and their ratio (above 1: the window is faster).
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <vector>

#include "parallel/end_job.h"
#include "parallel/job.h"

namespace echelon {
namespace {

constexpr int kBatches = 41, kWarmUp = 200;

/// The tenth percentile over batches of the mean of one call, in microseconds: what the exchange costs when nothing
/// else takes the core.
template <class Call>
double undisturbed_us(int calls_per_batch, Call&& call) {
  for (int i = 0; i < kWarmUp; ++i) call();
  std::vector<double> us(kBatches);
  for (double& batch : us) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < calls_per_batch; ++i) call();
    batch =
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / calls_per_batch;
  }
  std::nth_element(us.begin(), us.begin() + kBatches / 10, us.end());
  return us[kBatches / 10];
}

/// sum = the parts in the order of their ranks.
void add(const std::vector<std::vector<std::byte>>& parts, std::vector<float>& sum) {
  std::memcpy(sum.data(), parts[0].data(), parts[0].size());
  for (size_t part = 1; part < parts.size(); ++part) {
    const float* const values = reinterpret_cast<const float*>(parts[part].data());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
  }
}

void measure() {
  const std::unique_ptr<Job> job = start_job();
  if (job->size() < 2)
    throw Error(Part::parallel, "exchange_bench needs at least two ranks: mpirun -np 2 exchange_bench");
  std::vector<int> all(job->size());
  std::iota(all.begin(), all.end(), 0);
  std::unique_ptr<Communicator> group = job->make_communicator(all, {});
  if (job->rank() == 0)
    std::printf("%8s %14s %14s %8s   (%d ranks)\n", "KiB", "window us", "allreduce us", "ratio", job->size());
  for (size_t num_bytes = 2048; num_bytes <= 65536; num_bytes *= 2) {
    const int calls = static_cast<int>(std::max<size_t>(50, 2'000'000 / num_bytes));
    std::vector<std::vector<std::byte>> parts(job->size(), std::vector<std::byte>(num_bytes));
    const std::vector<std::span<std::byte>> out(parts.begin(), parts.end());
    std::vector<float> mine(num_bytes / sizeof(float), 1.0F), sum(mine.size());
    const double window = undisturbed_us(calls, [&] {
      group->all_gather(out[job->rank()], out);
      add(parts, sum);
    });
    const double allreduce = undisturbed_us(calls, [&] {
      MPI_Allreduce(mine.data(), sum.data(), static_cast<int>(mine.size()), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    });
    if (job->rank() == 0)
      std::printf("%8zu %14.2f %14.2f %8.2f\n", num_bytes >> 10, window, allreduce, allreduce / window);
  }
  group.reset();
  job->finish();
}

}  // namespace
}  // namespace echelon

int main() {
  try {
    echelon::measure();
  } catch (const std::exception& error) {
    echelon::end_job(error.what());
  }
  return 0;
}
