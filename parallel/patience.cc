// Spinning pays only when the peer runs at the same time: with fewer cores than ranks it takes the peer's core away.
#include "parallel/patience.h"

#include <sched.h>
#include <unistd.h>

#include <thread>

namespace echelon {

int resolved_spin_us(const WaitTimes& times, int num_ranks) {
  constexpr int kDefaultSpinUs = 50;
  if (times.spin_us >= 0) return times.spin_us;
  // The affinity mask under a launcher that binds is one rank's share, so one core in it is enough for this rank.
  cpu_set_t mine;
  CPU_ZERO(&mine);
  const bool known = sched_getaffinity(0, sizeof(mine), &mine) == 0;
  const int num_online = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int num_mine = known ? CPU_COUNT(&mine) : num_online;
  if (num_mine >= num_ranks) return kDefaultSpinUs;
  static const int num_machine = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  const bool bound = num_mine < num_machine;
  return bound && num_ranks <= num_machine ? kDefaultSpinUs : 0;
}

}  // namespace echelon
