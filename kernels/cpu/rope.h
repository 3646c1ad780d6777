// Rotary position embedding (Su et al., RoFormer, arXiv 2104.09864), the norm of queries and keys before it, and the
// writes of keys and values to the cache.
#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace echelon::cpu {

/// cos and sin, computed in double (kernels/base/math.h) and rounded once. Frequency i is base^(-2i / rotary_dim) /
/// factor i. 32768 positions of 64 pairs: 16 MiB, about 40 ms on one core. Throws Error(Part::kernels) for a plan that
/// no model can mean.
class CpuRopeTable final : public RopeTable {
 public:
  CpuRopeTable(const RopePlan& plan, ThreadPool& threads);

  int num_pairs() const { return num_pairs_; }
  int64_t max_positions() const { return max_positions_; }
  const float* cos(int64_t position) const { return values_.get<float>() + position * 2 * num_pairs_; }
  const float* sin(int64_t position) const { return cos(position) + num_pairs_; }

 private:
  int num_pairs_ = 0;
  int64_t max_positions_ = 0;
  AlignedMemory values_;  ///< [position]{cos [num_pairs], sin [num_pairs]}
};

/// Backend::rope_and_cache. Rows are shared among the threads.
void rope_and_cache(const OpKernels& kernels, ThreadPool& threads, Matrix qkv, std::span<const Segment> segments,
                    const AttentionPlan& plan, const KvCacheView& cache, int layer);

/// Our own mistakes in what attention and rope_and_cache are given: shapes, positions, block tables (checked).
void check_attention(const Matrix& qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                     const KvCacheView& cache, int layer);

}  // namespace echelon::cpu
