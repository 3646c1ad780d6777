// The ceilings of this host's processors, measured with the kernels that serve: a read of memory, products of few and
// many rows, attention of prompts and of decodes, and an exchange between two ranks.
#pragma once

#include <cstddef>

#include "engine/planner/device_table.h"

namespace echelon {

/// Sizes of a model's layer: products of other shapes and attention of other heads run at other rates.
struct LayerShape {
  int64_t hidden = 1024, intermediate = 1024;
  int num_heads = 9, num_kv_heads = 3, head_dim = 64;
};

struct HostCeilingOptions {
  CpuIsa isa = CpuIsa::portable;
  int threads_per_rank = 1;
  int ranks_per_host = 1;
  LayerShape layer = {};
};

/// What `num_threads` threads of this process reach at best, one kind of work after the other: a read of memory,
/// products of many rows, attention of a prompt. One thread; uses the others for the time of a call.
class CeilingMeasurement {
 public:
  CeilingMeasurement(CpuIsa isa, int num_threads) : isa_(isa), num_threads_(num_threads) {}
  static constexpr int kNumSteps = 5;
  /// Host memory that a step takes for its time.
  static size_t bytes_needed(int num_threads);
  /// The next kind of work, after the last the first again: takes 10 to 100 ms. The best of a kind is kept.
  void step();
  int num_steps_done() const { return num_steps_done_; }
  const Ceiling& best() const { return best_; }

 private:
  CpuIsa isa_;
  int num_threads_;
  int num_steps_done_ = 0;
  Ceiling best_;
};

/// The device "cpu", few rows and decodes with weights and keys that no cache holds: one rank alone, and all ranks of
/// this host together. memory_bytes is 0. Uses its threads for the time of the call. The network between hosts is not
/// measured: 10 Gbit/s Ethernet is taken.
Device measure_host(const HostCeilingOptions& options);

}  // namespace echelon
