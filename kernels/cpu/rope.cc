// The table, and one walk over the rows: norm, turn, store.
#include "kernels/cpu/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "kernels/base/math.h"

namespace echelon::cpu {
namespace {

[[noreturn]] void refuse(const std::string& what) { throw Error(Part::kernels, "rotary embedding: " + what); }

std::vector<double> frequencies(const RopePlan& plan) {
  const int num_pairs = plan.rotary_dim / 2;
  if (plan.rotary_dim < 2 || plan.rotary_dim % 2 != 0 || plan.rotary_dim > kMaxHeadDim) {
    refuse(fmt::format("{} dimensions turn; expected an even number from 2 to {}", plan.rotary_dim, kMaxHeadDim));
  }
  if (!(plan.base >= 1.0) || !std::isfinite(plan.base)) refuse(fmt::format("base {}; expected at least 1", plan.base));
  if (!(plan.position_scale > 0) || !std::isfinite(plan.position_scale)) {
    refuse(fmt::format("position scale {}; expected a positive number", plan.position_scale));
  }
  if (!std::isfinite(plan.magnitude)) refuse(fmt::format("magnitude {}", plan.magnitude));
  if (plan.max_positions < 1 || plan.max_positions > kMaxModelLen) {
    refuse(fmt::format("{} positions; expected 1 to {}", plan.max_positions, kMaxModelLen));
  }
  if (!plan.frequency_factors.empty() && static_cast<int>(plan.frequency_factors.size()) != num_pairs) {
    refuse(fmt::format("{} frequency factors for {} pairs", plan.frequency_factors.size(), num_pairs));
  }
  std::vector<double> result(num_pairs);
  for (int i = 0; i < num_pairs; ++i) {
    const double factor = plan.frequency_factors.empty() ? 1.0 : plan.frequency_factors[i];
    result[i] = math::pow(plan.base, -2.0 * i / plan.rotary_dim) / factor;
    const double largest = static_cast<double>(plan.max_positions - 1) * plan.position_scale * result[i];
    if (!(factor > 0) || !(largest <= math::kMaxAngle)) {
      refuse(fmt::format("frequency factor {} = {}: angles up to {}; expected at most {}", i, factor, largest,
                         math::kMaxAngle));
    }
  }
  return result;
}

struct HeadTurn {
  const OpKernels& kernels;
  const AttentionPlan& plan;
  const CpuRopeTable* table;

  /// Norm and rope of heads side by side.
  void operator()(float* heads, int num_heads, const float* norm, int position) const {
    for (int h = 0; h < num_heads; ++h) {
      float* head = heads + int64_t{h} * plan.head_dim;
      if (norm != nullptr) kernels.rms_norm(head, norm, plan.head_dim, plan.norm_epsilon, head);
      if (plan.rope_style == RopeStyle::none) continue;
      const auto turn = plan.rope_style == RopeStyle::halves ? kernels.rope_halves : kernels.rope_interleaved;
      turn(head, table->cos(position), table->sin(position), table->num_pairs());
    }
  }
};

}  // namespace

CpuRopeTable::CpuRopeTable(const RopePlan& plan, ThreadPool& threads) {
  const std::vector<double> frequency = frequencies(plan);
  num_pairs_ = plan.rotary_dim / 2;
  max_positions_ = plan.max_positions;
  values_ = AlignedMemory(sizeof(float) * static_cast<size_t>(max_positions_ * 2 * num_pairs_));
  const int parts = parts_for(threads, max_positions_, max_positions_ * num_pairs_ * 16);
  threads.parallel(parts, [&](int part) {
    const Share share = share_of(max_positions_, part, parts);
    for (int64_t position = share.first; position < share.end; ++position) {
      float* out = values_.get<float>() + position * 2 * num_pairs_;
      const double scaled = static_cast<double>(position) * plan.position_scale;
      for (int i = 0; i < num_pairs_; ++i) {
        const math::SinCos turn = math::sin_cos(scaled * frequency[i]);
        out[i] = static_cast<float>(turn.cos * plan.magnitude);
        out[num_pairs_ + i] = static_cast<float>(turn.sin * plan.magnitude);
      }
    }
  });
}

void check_attention(const Matrix& qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                     const KvCacheView& cache, int layer) {
  ECHELON_CHECK(plan.head_dim > 0 && plan.head_dim % kVirtualLanes == 0 && plan.head_dim <= kMaxHeadDim,
                "head dimension {}", plan.head_dim);
  ECHELON_CHECK(qkv.cols == int64_t{plan.num_heads + 2 * plan.num_kv_heads} * plan.head_dim, "{} columns", qkv.cols);
  ECHELON_CHECK(cache.num_kv_heads == plan.num_kv_heads && cache.head_dim == plan.head_dim);
  ECHELON_CHECK(layer >= 0 && layer < cache.num_layers, "layer {}", layer);
  ECHELON_CHECK(static_cast<int>(plan.kv_head_of_head.size()) == plan.num_heads);
  for (int kv_head : plan.kv_head_of_head) ECHELON_CHECK(kv_head >= 0 && kv_head < plan.num_kv_heads);
  int64_t num_rows = 0;
  for (const Segment& segment : segments) {
    num_rows += segment.num_rows;
    ECHELON_CHECK(segment.first_row >= 0 && segment.num_rows >= 1 && segment.first_position >= 0 &&
                      int64_t{segment.first_row} + segment.num_rows <= qkv.rows,
                  "rows {} + {} of {}", segment.first_row, segment.num_rows, qkv.rows);
    const int64_t end = int64_t{segment.first_position} + segment.num_rows;
    ECHELON_CHECK(end <= static_cast<int64_t>(segment.blocks.size()) * kBlockTokens, "{} positions in {} blocks", end,
                  segment.blocks.size());
    // every block once a pass is enough: the table is the same for all layers
    for (int64_t b = layer == 0 ? 0 : (end - 1) / kBlockTokens; b * kBlockTokens < end; ++b) {
      ECHELON_CHECK(segment.blocks[b] >= 0 && segment.blocks[b] < cache.num_blocks, "block {}", segment.blocks[b]);
    }
  }
  ECHELON_CHECK(num_rows == qkv.rows, "segments hold {} of {} rows", num_rows, qkv.rows);
}

void rope_and_cache(const OpKernels& kernels, ThreadPool& threads, Matrix qkv, std::span<const Segment> segments,
                    const AttentionPlan& plan, const KvCacheView& cache, int layer) {
  if (plan.num_heads == 0) return;
  check_attention(qkv, segments, plan, cache, layer);
  const CpuRopeTable* table = nullptr;
  if (plan.rope_style != RopeStyle::none) {
    ECHELON_CHECK(plan.rope != nullptr);
    table = static_cast<const CpuRopeTable*>(plan.rope);
    ECHELON_CHECK(2 * table->num_pairs() <= plan.head_dim, "{} pairs", table->num_pairs());
  }
  const HeadTurn turn{.kernels = kernels, .plan = plan, .table = table};
  const int64_t head_dim = plan.head_dim, key_col = plan.num_heads * head_dim;
  const int64_t value_col = key_col + plan.num_kv_heads * head_dim;

  const int parts = parts_for(threads, qkv.rows, qkv.rows * qkv.cols * 4);
  threads.parallel(parts, [&](int part) {
    const Share share = share_of(qkv.rows, part, parts);
    for (const Segment& segment : segments) {
      const int64_t end = std::min<int64_t>(share.end, segment.first_row + segment.num_rows);
      for (int64_t row = std::max<int64_t>(share.first, segment.first_row); row < end;) {
        const int position = segment.first_position + static_cast<int>(row - segment.first_row);
        const int slot = position % kBlockTokens;
        const int count = static_cast<int>(std::min<int64_t>(end - row, kBlockTokens - slot));
        if (table != nullptr) ECHELON_CHECK(position + count <= table->max_positions(), "position {}", position);
        for (int i = 0; i < count; ++i) {
          turn(qkv.row(row + i), plan.num_heads, plan.q_norm, position + i);
          turn(qkv.row(row + i) + key_col, plan.num_kv_heads, plan.k_norm, position + i);
        }
        for (int h = 0; h < plan.num_kv_heads; ++h) {
          uint8_t* block = reinterpret_cast<uint8_t*>(cache.head(segment.blocks[position / kBlockTokens], layer, h));
          const float* token = qkv.row(row) + h * head_dim;
          float* scales =
              cache.type == KvType::int8 ? reinterpret_cast<float*>(block + cache.scale_offset()) : nullptr;
          kernels.store_keys(token + key_col, qkv.stride, count, plan.head_dim, slot, cache.type, block, scales);
          kernels.store_values(token + value_col, qkv.stride, count, plan.head_dim, slot, cache.type,
                               block + cache.value_offset(), scales == nullptr ? nullptr : scales + kBlockTokens);
        }
        row += count;
      }
    }
  });
}

}  // namespace echelon::cpu
