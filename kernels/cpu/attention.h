// Causal attention over the paged KV cache, prefill and decode alike: division into tasks and threads around the
// kernels of kernels/cpu/isa/attention_kernels.h, whose head defines the bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/activation.h"
#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/isa/op_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace echelon::cpu {

/// Keeps its work lists between calls, so that a step allocates nothing once the largest batch has been seen.
/// Used by one thread at a time.
class Attention {
 public:
  Attention(const OpKernels& kernels, ThreadPool& threads) : kernels_(kernels), threads_(threads) {}

  /// Backend::attention. Tasks are up to 8 queries (rows x the query heads of one KV head) that share their loads of K
  /// and V. Threads take contiguous shares of equal cost, of whole tasks, or of spans of 256 keys when there are too
  /// few tasks to go round (one long sequence); then the spans' partial results are kept and merged in order by a
  /// second pass.
  void run(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan, const KvCacheView& cache,
           int layer, CpuActivation& out);

 private:
  struct Call;
  struct Item {
    int segment = 0, kv_head = 0;
    int first_query = 0,
        num_queries = 0;  ///< query i of a segment and KV head: row i / group, head i % group of the group
    int first_tile = 0;
    int first_span = 0, end_span = 0;
    int64_t cost = 0;            ///< in tiles times (queries + the loads of one tile)
    int64_t first_cost = 0;      ///< of all items before
    int64_t partial_offset = 0;  ///< floats before its partial results, when spans are shared
  };

  void group_heads(const AttentionPlan& plan);
  void list_items(const Call& call);
  AttentionTask task_of(const Call& call, const Item& item) const;
  void run_items(const Call& call, int part, int num_parts);
  void run_spans(const Call& call, int part, int num_parts);
  void merge_item(const Call& call, const Item& item);
  static const uint8_t* first_block(const Call& call, const Item& item);
  void finish(const Call& call, const Item& item, const AttentionTask& task, const AttentionPartial& total);

  const OpKernels& kernels_;
  ThreadPool& threads_;
  std::vector<int> heads_;       ///< query heads in order of their KV head
  std::vector<int> first_head_;  ///< of each KV head in heads_, and the end
  std::vector<Item> items_;
  int64_t total_cost_ = 0;
  AlignedMemory partials_;  ///< of items and spans, or two for each thread
  AlignedMemory rows_;      ///< [rows][num_heads * head_dim], only for heads that are no multiple of 32 wide
};

}  // namespace echelon::cpu
