#include "engine/model/stage_model.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/model/traffic.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "kernels/base/math.h"

namespace echelon {
namespace {

struct Widths {
  int64_t qkv = 0, heads = 0, mlp = 0, slots = 0;
};

Widths widths_of(const ModelSpec& spec, const Shard& shard) {
  return {.qkv = (shard.heads.count + 2 * shard.kv_heads.count) * spec.head_dim,
          .heads = shard.heads.count * spec.head_dim,
          .mlp = shard.mlp_columns.count,
          .slots = std::max(shard.attention_tree.total_slots(), shard.mlp_tree.total_slots())};
}

/// Part 0 gathers the whole vocabulary.
int64_t logit_columns(const ModelSpec& spec, const Shard& shard) {
  return shard.place.tp == 0 ? spec.vocab : shard.vocab.count;
}

/// Llama 3's context extension: low frequencies are divided by the factor, high ones stay, those between are blended.
std::vector<float> llama3_factors(const RopeSpec::Llama3& l, double base, int rotary_dim) {
  std::vector<float> factors(rotary_dim / 2);
  for (int i = 0; i < rotary_dim / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi * math::pow(base, 2.0 * i / rotary_dim);
    const double turns = l.original_context / wavelength;
    const double blend = std::clamp((turns - l.low_freq_factor) / (l.high_freq_factor - l.low_freq_factor), 0.0, 1.0);
    factors[i] = static_cast<float>(1.0 / ((1.0 - blend) / l.factor + blend));
  }
  return factors;
}

std::span<const std::byte> bytes_of(const float* data, int64_t count) {
  return std::as_bytes(std::span(data, static_cast<size_t>(count)));
}
std::span<std::byte> writable_bytes(float* data, int64_t count) {
  return std::as_writable_bytes(std::span(data, static_cast<size_t>(count)));
}

}  // namespace

/// Everything a step writes, allocated once.
struct StageModel::Workspace {
  std::unique_ptr<Buffer> hidden, qkv, gate_up, slots, sum, selected, logits;
  std::unique_ptr<Activation> normed, heads, mlp, selected_normed;
  std::vector<float> part_logits;  ///< what another part sent to part 0
};

StageModel::StageModel(const ModelSpec& spec, Shard shard, StageWeights weights, Backend& backend,
                       Communicator& tensor_group, const StageModelOptions& options,
                       const std::vector<float>& rope_factors)
    : spec_(spec),
      shard_(std::move(shard)),
      weights_(std::move(weights)),
      backend_(backend),
      tensor_group_(tensor_group),
      options_(options),
      work_(std::make_unique<Workspace>()) {
  ECHELON_CHECK(tensor_group.size() == shard_.tp && tensor_group.rank() == shard_.place.tp);
  for (const RopeSpec& rope : spec_.ropes) {
    RopePlan plan{.rotary_dim = spec_.head_dim,
                  .base = rope.base,
                  .frequency_factors = rope_factors,
                  .position_scale = rope.position_scale,
                  .magnitude = 1.0f,
                  .max_positions = options.max_model_len};
    if (rope_factors.empty() && rope.llama3)
      plan.frequency_factors = llama3_factors(*rope.llama3, rope.base, spec_.head_dim);
    ropes_.push_back(backend_.make_rope(plan));
  }
  cache_ = {.data = nullptr,
            .type = options.kv_type,
            .num_blocks = options.num_blocks,
            .num_layers = static_cast<int>(shard_.layers.count),
            .num_kv_heads = static_cast<int>(shard_.kv_heads.count),
            .head_dim = spec_.head_dim};
  kv_buffer_ = backend_.allocate(static_cast<size_t>(cache_.block_bytes() * cache_.num_blocks));
  cache_.data = kv_buffer_->data();

  const Widths w = widths_of(spec_, shard_);
  const int64_t rows = options.max_rows;
  const auto floats = [&](int64_t count) { return backend_.allocate(static_cast<size_t>(count) * sizeof(float)); };
  work_->hidden = floats(rows * spec_.hidden);
  work_->qkv = floats(rows * w.qkv);
  work_->gate_up = floats(rows * 2 * w.mlp);
  work_->slots = floats(rows * spec_.hidden * w.slots);
  work_->sum = floats(rows * spec_.hidden);
  work_->normed = backend_.make_activation(rows, spec_.hidden);
  if (w.heads > 0) work_->heads = backend_.make_activation(rows, w.heads);
  if (w.mlp > 0) work_->mlp = backend_.make_activation(rows, w.mlp);
  if (shard_.is_last_stage()) {
    work_->selected = floats(kLogitRows * spec_.hidden);
    work_->selected_normed = backend_.make_activation(kLogitRows, spec_.hidden);
    work_->logits = floats(kLogitRows * logit_columns(spec_, shard_));
  }
}

StageModel::~StageModel() = default;

size_t StageModel::activation_bytes(const ModelSpec& spec, const Shard& shard, const Backend& backend, int max_rows) {
  const Widths w = widths_of(spec, shard);
  const int64_t floats = int64_t{max_rows} * (spec.hidden * (2 + w.slots) + w.qkv + 2 * w.mlp);
  size_t total = static_cast<size_t>(floats) * sizeof(float) + backend.activation_bytes(max_rows, spec.hidden);
  if (w.heads > 0) total += backend.activation_bytes(max_rows, w.heads);
  if (w.mlp > 0) total += backend.activation_bytes(max_rows, w.mlp);
  if (shard.is_last_stage()) {
    total += static_cast<size_t>(kLogitRows) * (spec.hidden + logit_columns(spec, shard)) * sizeof(float);
    total += backend.activation_bytes(kLogitRows, spec.hidden);
  }
  return total;
}

size_t StageModel::kv_block_bytes(const ModelSpec& spec, const Shard& shard, KvType type) {
  const KvCacheView view{.data = nullptr,
                         .type = type,
                         .num_blocks = 0,
                         .num_layers = static_cast<int>(shard.layers.count),
                         .num_kv_heads = static_cast<int>(shard.kv_heads.count),
                         .head_dim = spec.head_dim};
  return static_cast<size_t>(view.block_bytes());
}

Matrix StageModel::hidden(int rows) const {
  return {reinterpret_cast<float*>(work_->hidden->data()), rows, spec_.hidden, spec_.hidden};
}

std::span<std::byte> StageModel::hidden_bytes(int rows) {
  return writable_bytes(hidden(rows).data, rows * spec_.hidden);
}

bool StageModel::claim_more_cache() {
  constexpr size_t kPage = size_t{4} << 10, kPart = size_t{2} << 20;  // a huge page for each thread
  const size_t size_bytes = kv_buffer_->size_bytes();
  if (!backend_.is_host() || claimed_bytes_ >= size_bytes) return false;
  backend_.run_on_host(backend_.num_host_threads(), [&](int part) {
    const size_t first = claimed_bytes_ + static_cast<size_t>(part) * kPart, end = std::min(first + kPart, size_bytes);
    for (size_t at = first; at < end; at += kPage) {
      volatile std::byte& byte = kv_buffer_->data()[at];
      byte = byte;
    }
  });
  claimed_bytes_ += static_cast<size_t>(backend_.num_host_threads()) * kPart;
  return claimed_bytes_ < size_bytes;
}

void StageModel::embed(const BatchView& batch) {
  backend_.embed(*weights_.embedding, batch.tokens, spec_.embedding_scale, hidden(batch.num_rows()));
}

void StageModel::run_layers(const BatchView& batch) {
  const int rows = batch.num_rows(), num_layers = static_cast<int>(weights_.layers.size());
  ECHELON_CHECK(rows <= options_.max_rows);
  if (num_layers > 0 && shard_.heads.count > 0) {
    backend_.rms_norm(hidden(rows), weights_.layers[0].attention_norm, spec_.norm_epsilon, *work_->normed);
  }
  for (int local = 0; local < num_layers; ++local) {
    attention_block(weights_.layers[local], local, batch);
    mlp_block(weights_.layers[local], local + 1 < num_layers ? &weights_.layers[local + 1] : nullptr, rows);
  }
}

/// The norm in front of a block of which this rank has `share`, if anything.
NextNorm StageModel::norm_before(const IndexRange& share, const float* weight) const {
  return share.count > 0 ? NextNorm{.weight = weight, .out = work_->normed.get()} : NextNorm{};
}

AttentionPlan StageModel::attention_plan(const LayerWeights& layer, int global_layer) const {
  const LayerSpec& spec = spec_.layers[global_layer];
  AttentionPlan plan{.num_heads = static_cast<int>(shard_.heads.count),
                     .num_kv_heads = static_cast<int>(shard_.kv_heads.count),
                     .head_dim = spec_.head_dim,
                     .kv_head_of_head = {},
                     .scale = spec_.attention_scale,
                     .window = spec.window,
                     .softcap = spec_.attention_softcap,
                     .q_norm = layer.query_norm,
                     .k_norm = layer.key_norm,
                     .norm_epsilon = spec_.norm_epsilon,
                     .rope_style = spec_.ropes[spec.rope].style,
                     .rope = ropes_[spec.rope].get()};
  const int64_t group = spec_.num_heads / spec_.num_kv_heads;
  for (int64_t head = shard_.heads.first; head < shard_.heads.end(); ++head) {
    plan.kv_head_of_head.push_back(static_cast<int>(head / group - shard_.kv_heads.first));
  }
  return plan;
}

void StageModel::attention_block(const LayerWeights& layer, int local_layer, const BatchView& batch) {
  const int rows = batch.num_rows();
  if (shard_.heads.count > 0) {
    const Widths w = widths_of(spec_, shard_);
    const Matrix qkv{reinterpret_cast<float*>(work_->qkv->data()), rows, w.qkv, w.qkv};
    const AttentionPlan plan = attention_plan(layer, static_cast<int>(shard_.layers.first) + local_layer);
    project(*work_->normed, rows, layer.qkv, qkv, 0);
    backend_.rope_and_cache(qkv, batch.segments, plan, cache_, local_layer);
    backend_.attention(qkv, batch.segments, plan, cache_, local_layer, *work_->heads);
    const int64_t slot = int64_t{rows} * spec_.hidden;
    float* slots =
        reinterpret_cast<float*>(work_->slots->data()) + shard_.attention_tree.first_slot(shard_.place.tp) * slot;
    project(*work_->heads, rows, layer.output, {slots, rows, spec_.hidden, spec_.hidden}, slot);
  }
  sum_parts(shard_.attention_tree, rows, layer.post_attention_norm, norm_before(shard_.mlp_columns, layer.mlp_norm));
}

/// `next`: the layer behind it, or null.
void StageModel::mlp_block(const LayerWeights& layer, const LayerWeights* next, int rows) {
  const int64_t columns = shard_.mlp_columns.count;
  if (columns > 0) {
    const Matrix gate_up{reinterpret_cast<float*>(work_->gate_up->data()), rows, 2 * columns, 2 * columns};
    if (layer.gate_up.interleaved) {
      backend_.gated_linear(*work_->normed, rows, *layer.gate_up.pieces[0].matrix, spec_.gate, *work_->mlp);
    } else {
      project(*work_->normed, rows, layer.gate_up, gate_up, 0);
      backend_.gated_activation(gate_up, spec_.gate, *work_->mlp);
    }
    const int64_t slot = int64_t{rows} * spec_.hidden;
    float* slots = reinterpret_cast<float*>(work_->slots->data()) + shard_.mlp_tree.first_slot(shard_.place.tp) * slot;
    project(*work_->mlp, rows, layer.down, {slots, rows, spec_.hidden, spec_.hidden}, slot);
  }
  sum_parts(shard_.mlp_tree, rows, layer.post_mlp_norm,
            next ? norm_before(shard_.heads, next->attention_norm) : NextNorm{});
}

void StageModel::project(const Activation& x, int64_t rows, const Projection& projection, Matrix out,
                         int64_t slot_stride) {
  for (const Projection::Piece& piece : projection.pieces) {
    const float* bias = projection.bias ? projection.bias + piece.first_column : nullptr;
    const Matrix columns{out.data + piece.first_column, rows, piece.matrix->rows(), out.stride};
    backend_.linear(x, rows, *piece.matrix, bias, columns, slot_stride);
  }
}

/// Brings the slots of all parts together, finishes the tree and adds it to the residual stream.
void StageModel::sum_parts(const ReductionTree& tree, int rows, const float* norm, NextNorm next) {
  const int64_t slot = int64_t{rows} * spec_.hidden;
  const float* slots = reinterpret_cast<const float*>(work_->slots->data());
  if (sums_in_slices(rows, spec_.hidden, shard_.tp)) {
    exchange_slices(tree, rows);
    const float* sum = reinterpret_cast<const float*>(work_->sum->data());
    constexpr int kNoMerge[] = {0};
    backend_.finish_sum(std::span(&sum, 1), spec_.hidden, kNoMerge, norm, spec_.norm_epsilon, hidden(rows), next);
    return;
  }
  if (shard_.tp > 1) exchange_slots(tree, rows);
  std::vector<const float*> pointers;
  for (int i = 0; i < tree.total_slots(); ++i) pointers.push_back(slots + i * slot);
  backend_.finish_sum(pointers, spec_.hidden, tree.finish_merges(), norm, spec_.norm_epsilon, hidden(rows), next);
}

/// Few rows: everyone gets every slot.
void StageModel::exchange_slots(const ReductionTree& tree, int rows) {
  const int64_t slot = int64_t{rows} * spec_.hidden;
  float* slots = reinterpret_cast<float*>(work_->slots->data());
  std::vector<std::span<std::byte>> all;
  for (int part = 0; part < shard_.tp; ++part) {
    all.push_back(writable_bytes(slots + tree.first_slot(part) * slot, tree.num_slots(part) * slot));
  }
  tensor_group_.all_gather(all[shard_.place.tp], all);
}

/// Many rows: part t adds the same tree for its slice of the rows; the finished slices are gathered.
void StageModel::exchange_slices(const ReductionTree& tree, int rows) {
  const int tp = shard_.tp, me = shard_.place.tp;
  const int64_t width = spec_.hidden, slot = rows * width;
  const auto first_row = [&](int part) { return first_row_of_slice(rows, part, tp); };
  const auto slice = [&](float* matrix, int part) { return matrix + first_row(part) * width; };
  const auto count = [&](int part) { return (first_row(part + 1) - first_row(part)) * width; };
  float* slots = reinterpret_cast<float*>(work_->slots->data());
  float* sum = reinterpret_cast<float*>(work_->sum->data());
  const int num_rounds = num_slice_rounds(tree);
  for (int round = 0; round < num_rounds; ++round) {  // one slot of every part that has as many
    std::vector<std::span<const std::byte>> mine(tp);
    std::vector<std::span<std::byte>> theirs(tp);
    for (int part = 0; part < tp; ++part) {
      if (part == me) continue;
      if (round < tree.num_slots(me))
        mine[part] = bytes_of(slice(slots + (tree.first_slot(me) + round) * slot, part), count(part));
      if (round < tree.num_slots(part))
        theirs[part] = writable_bytes(slice(slots + (tree.first_slot(part) + round) * slot, me), count(me));
    }
    tensor_group_.all_to_all(mine, theirs);
  }
  std::vector<const float*> pointers;
  for (int i = 0; i < tree.total_slots(); ++i) pointers.push_back(slice(slots + i * slot, me));
  backend_.reduce_slots(pointers, width, tree.finish_merges(),
                        {slice(sum, me), first_row(me + 1) - first_row(me), width, width});
  std::vector<std::span<std::byte>> all;
  for (int part = 0; part < tp; ++part) all.push_back(writable_bytes(slice(sum, part), count(part)));
  tensor_group_.all_gather(all[me], all);
}

/// A copy of these rows of the residual stream, side by side.
Matrix StageModel::select(std::span<const int> rows) {
  ECHELON_CHECK(shard_.is_last_stage() && !rows.empty() && rows.size() <= kLogitRows);
  const auto count = static_cast<int64_t>(rows.size());
  const Matrix selected{reinterpret_cast<float*>(work_->selected->data()), count, spec_.hidden, spec_.hidden};
  for (int64_t i = 0; i < count; ++i) {
    backend_.copy_from_host(selected.row(i), hidden(options_.max_rows).row(rows[i]), spec_.hidden * sizeof(float));
  }
  return selected;
}

std::span<const float> StageModel::final_hidden(std::span<const int> rows) {
  const Matrix selected = select(rows);
  backend_.rms_norm(selected, weights_.final_norm, spec_.norm_epsilon, selected);
  return std::span<const float>(selected.data, static_cast<size_t>(selected.rows * selected.cols));
}

std::span<const float> StageModel::logits(std::span<const int> rows) {
  const Matrix selected = select(rows);
  const int64_t count = selected.rows, vocab = spec_.vocab, columns = shard_.vocab.count;
  const int64_t stride = logit_columns(spec_, shard_);
  float* const all = reinterpret_cast<float*>(work_->logits->data());
  float* const mine = shard_.place.tp == 0 ? all + shard_.vocab.first : all;
  if (columns > 0) {
    const Matrix out{mine, count, columns, stride};
    backend_.rms_norm(selected, weights_.final_norm, spec_.norm_epsilon, *work_->selected_normed);
    project(*work_->selected_normed, count, weights_.head, out, 0);
    if (spec_.logits_softcap > 0) backend_.softcap(out, spec_.logits_softcap);
  }
  if (shard_.place.tp != 0) {
    if (columns > 0) tensor_group_.send(0, bytes_of(mine, count * columns));
    return {};
  }
  for (int t = 1; t < shard_.tp; ++t) {
    const IndexRange range = vocab_range(vocab, shard_.tp, t);
    if (range.count == 0) continue;
    work_->part_logits.resize(static_cast<size_t>(count * range.count));
    tensor_group_.receive(t, writable_bytes(work_->part_logits.data(), count * range.count));
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(work_->part_logits.data() + i * range.count, range.count, all + i * vocab + range.first);
    }
  }
  return std::span<const float>(all, static_cast<size_t>(count * vocab));
}

}  // namespace echelon
