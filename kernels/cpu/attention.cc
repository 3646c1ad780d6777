// Work lists and shares. No choice made here changes a bit of the result.
#include "kernels/cpu/attention.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "kernels/cpu/rope.h"

namespace echelon::cpu {
namespace {

constexpr int kTileCost = 3;  ///< of loading one tile, in queries

int64_t partial_floats(int num_queries, int head_dim) { return int64_t{num_queries} * head_dim + 2 * kMaxTaskQueries; }

/// {acc, max, sum} one after the other, so that acc is aligned.
AttentionPartial partial_at(float* data, int num_queries, int head_dim) {
  float* max = data + int64_t{num_queries} * head_dim;
  return {.max = max, .sum = max + kMaxTaskQueries, .acc = data};
}

void reserve(AlignedMemory& memory, int64_t floats) {
  const size_t bytes = sizeof(float) * static_cast<size_t>(floats);
  if (bytes > memory.size_bytes()) memory = AlignedMemory(bytes + bytes / 2);
}

}  // namespace

/// What one call was given.
struct Attention::Call {
  const Matrix& qkv;
  std::span<const Segment> segments;
  const AttentionPlan& plan;
  const KvCacheView& cache;
  int layer;
  CpuActivation& out;
};

void Attention::group_heads(const AttentionPlan& plan) {
  heads_.clear();
  first_head_.clear();
  for (int kv_head = 0; kv_head < plan.num_kv_heads; ++kv_head) {
    first_head_.push_back(static_cast<int>(heads_.size()));
    for (int head = 0; head < plan.num_heads; ++head) {
      if (plan.kv_head_of_head[head] == kv_head) heads_.push_back(head);
    }
  }
  first_head_.push_back(static_cast<int>(heads_.size()));
}

void Attention::list_items(const Call& call) {
  items_.clear();
  total_cost_ = 0;
  int64_t partial_offset = 0;
  for (size_t s = 0; s < call.segments.size(); ++s) {
    const Segment& segment = call.segments[s];
    for (int kv_head = 0; kv_head < call.plan.num_kv_heads; ++kv_head) {
      const int group = first_head_[kv_head + 1] - first_head_[kv_head];
      const int num_queries = group * segment.num_rows;
      for (int query = 0; query < num_queries; query += kMaxTaskQueries) {
        const int count = std::min(kMaxTaskQueries, num_queries - query);
        const int first_position = segment.first_position + query / group;
        const int last_position = segment.first_position + (query + count - 1) / group;
        const int window = call.plan.window;
        const int first_key = window > 0 ? std::max(0, first_position - window + 1) : 0;
        Item item{.segment = static_cast<int>(s),
                  .kv_head = kv_head,
                  .first_query = query,
                  .num_queries = count,
                  .first_tile = first_key / kAttentionTile,
                  .first_span = first_key / kAttentionSpan,
                  .end_span = last_position / kAttentionSpan + 1,
                  .first_cost = total_cost_,
                  .partial_offset = partial_offset};
        item.cost = int64_t{last_position / kAttentionTile - first_key / kAttentionTile + 1} * (count + kTileCost);
        total_cost_ += item.cost;
        partial_offset += (item.end_span - item.first_span) * partial_floats(count, call.plan.head_dim);
        items_.push_back(item);
      }
    }
  }
}

AttentionTask Attention::task_of(const Call& call, const Item& item) const {
  const Segment& segment = call.segments[item.segment];
  const int first_head = first_head_[item.kv_head], group = first_head_[item.kv_head + 1] - first_head;
  AttentionTask task;
  task.num_queries = item.num_queries;
  for (int i = 0; i < item.num_queries; ++i) {
    const int row = (item.first_query + i) / group, head = heads_[first_head + (item.first_query + i) % group];
    task.queries[i] = call.qkv.row(segment.first_row + row) + int64_t{head} * call.plan.head_dim;
    task.positions[i] = segment.first_position + row;
  }
  task.block0 = reinterpret_cast<const uint8_t*>(call.cache.head(0, call.layer, item.kv_head));
  task.block_bytes = call.cache.block_bytes();
  task.blocks = segment.blocks.data();
  task.head_dim = call.plan.head_dim;
  task.type = call.cache.type;
  task.scale = call.plan.scale;
  task.softcap = call.plan.softcap;
  task.window = call.plan.window;
  return task;
}

const uint8_t* Attention::first_block(const Call& call, const Item& item) {
  const int32_t block = call.segments[item.segment].blocks[item.first_tile];
  return reinterpret_cast<const uint8_t*>(call.cache.head(block, call.layer, item.kv_head));
}

void Attention::finish(const Call& call, const Item& item, const AttentionTask& task, const AttentionPartial& total) {
  alignas(64) float values[kMaxTaskQueries * kMaxHeadDim];
  const int head_dim = call.plan.head_dim;
  kernels_.finish_attention(task, total, values);
  const int first_head = first_head_[item.kv_head], group = first_head_[item.kv_head + 1] - first_head;
  ActivationWriter writer(call.out);
  for (int i = 0; i < item.num_queries; ++i) {
    const int64_t row = call.segments[item.segment].first_row + (item.first_query + i) / group;
    const int64_t first_col = int64_t{heads_[first_head + (item.first_query + i) % group]} * head_dim;
    const float* head = values + i * head_dim;
    if (head_dim % kQuantGroup == 0) {
      writer.write(row, first_col, head, head_dim);
    } else {
      std::copy_n(head, head_dim, rows_.get<float>() + row * call.out.cols() + first_col);
    }
  }
}

/// Items whose middle lies in this part of the whole cost: consecutive ones.
void Attention::run_items(const Call& call, int part, int num_parts) {
  const int64_t floats = partial_floats(kMaxTaskQueries, call.plan.head_dim);
  float* memory = partials_.get<float>() + part * 2 * floats;
  const auto part_of = [&](const Item& item) {
    return (2 * item.first_cost + item.cost) * num_parts / (2 * total_cost_);
  };
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (part_of(item) != part) continue;
    AttentionTask task = task_of(call, item);
    if (i + 1 < items_.size() && part_of(items_[i + 1]) == part) task.next = first_block(call, items_[i + 1]);
    const AttentionPartial total = partial_at(memory, item.num_queries, task.head_dim);
    const AttentionPartial next = partial_at(memory + floats, item.num_queries, task.head_dim);
    kernels_.attend_span(task, item.first_span, total);
    for (int span = item.first_span + 1; span < item.end_span; ++span) {
      kernels_.attend_span(task, span, next);
      kernels_.merge_spans(task, total, next);
    }
    finish(call, item, task, total);
  }
}

/// Spans whose middle lies in this part of the whole cost; partial results are kept.
void Attention::run_spans(const Call& call, int part, int num_parts) {
  const int head_dim = call.plan.head_dim;
  for (const Item& item : items_) {
    const int num_spans = item.end_span - item.first_span;
    AttentionTask task;
    for (int i = 0; i < num_spans; ++i) {
      const int64_t middle = item.first_cost + item.cost * (2 * i + 1) / (2 * num_spans);
      if (middle * num_parts / total_cost_ != part) continue;
      if (task.num_queries == 0) task = task_of(call, item);
      float* memory = partials_.get<float>() + item.partial_offset + i * partial_floats(item.num_queries, head_dim);
      kernels_.attend_span(task, item.first_span + i, partial_at(memory, item.num_queries, head_dim));
    }
  }
}

void Attention::merge_item(const Call& call, const Item& item) {
  const int head_dim = call.plan.head_dim;
  const int64_t floats = partial_floats(item.num_queries, head_dim);
  float* memory = partials_.get<float>() + item.partial_offset;
  const AttentionTask task = task_of(call, item);
  const AttentionPartial total = partial_at(memory, item.num_queries, head_dim);
  for (int span = item.first_span + 1; span < item.end_span; ++span) {
    memory += floats;
    kernels_.merge_spans(task, total, partial_at(memory, item.num_queries, head_dim));
  }
  finish(call, item, task, total);
}

void Attention::run(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan, const KvCacheView& cache,
                    int layer, CpuActivation& out) {
  out.set_rows(qkv.rows);
  if (plan.num_heads == 0 || segments.empty()) return;
  check_attention(qkv, segments, plan, cache, layer);
  const int64_t cols = int64_t{plan.num_heads} * plan.head_dim;
  ECHELON_CHECK(out.cols() == cols, "{} columns into {}", cols, out.cols());
  group_heads(plan);
  const Call call{.qkv = qkv, .segments = segments, .plan = plan, .cache = cache, .layer = layer, .out = out};
  list_items(call);
  const bool gather_rows = plan.head_dim % kQuantGroup != 0;
  if (gather_rows) reserve(rows_, qkv.rows * cols);

  const int parts = parts_for(threads_, std::max<int64_t>(2, threads_.num_threads()),
                              total_cost_ * kAttentionTile * plan.head_dim / 4);
  int64_t largest = 0;
  bool several_spans = false;
  for (const Item& item : items_) {
    largest = std::max(largest, item.cost);
    several_spans = several_spans || item.end_span - item.first_span > 1;
  }
  const bool share_spans = parts > 1 && several_spans && largest * parts * 8 > total_cost_;
  if (share_spans) {
    const Item& last = items_.back();
    reserve(partials_,
            last.partial_offset + (last.end_span - last.first_span) * partial_floats(last.num_queries, plan.head_dim));
    threads_.parallel(parts, [&](int part) { run_spans(call, part, parts); });
    const int num_items = static_cast<int>(items_.size());
    threads_.parallel(std::min(parts, num_items), [&](int part) {
      const Share share = share_of(num_items, part, std::min(parts, num_items));
      for (int64_t i = share.first; i < share.end; ++i) merge_item(call, items_[i]);
    });
  } else {
    reserve(partials_, 2 * parts * partial_floats(kMaxTaskQueries, plan.head_dim));
    threads_.parallel(parts, [&](int part) { run_items(call, part, parts); });
  }
  if (!gather_rows) return;
  const int row_parts = parts_for(threads_, qkv.rows, qkv.rows * cols);
  threads_.parallel(row_parts, [&](int part) {
    const Share share = share_of(qkv.rows, part, row_parts);
    for (int64_t row = share.first; row < share.end; ++row) {
      out.write_row(row, 0, rows_.get<float>() + row * cols, cols);
    }
  });
}

}  // namespace echelon::cpu
