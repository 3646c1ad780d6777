// The ceilings of this host's processors, measured with the kernels that serve: a read of memory, products of a chunk
// of a prompt, attention, and an exchange between two ranks. Takes about 0.1 s and 128 MiB, or 16 MiB a thread where
// that is more.
#pragma once

#include "engine/planner/device_table.h"

namespace echelon {

struct HostCeilingOptions {
  CpuIsa isa = CpuIsa::portable;
  int threads_per_rank = 1;
  int ranks_per_host = 1;
};

/// What `num_threads` threads of this process reach now.
Ceiling measure_ceiling(CpuIsa isa, int num_threads);

/// The device "cpu": one rank alone, and all ranks of this host together. memory_bytes is 0. Uses its threads for the
/// time of the call. The network between hosts is not measured: 10 Gbit/s Ethernet is taken.
Device measure_host(const HostCeilingOptions& options);

}  // namespace echelon
