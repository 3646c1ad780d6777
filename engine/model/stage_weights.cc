#include "engine/model/stage_weights.h"

#include <fmt/format.h>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

/// A matrix, and which of its rows a shard takes.
struct NamedRows {
  std::string name;
  int64_t rows = 0, cols = 0;  ///< expected shape
  IndexRange take;
};

const std::string& head_name(const ModelFiles& model) {
  return model.weights->has(model.names.head) ? model.names.head : model.names.embedding;  // tied
}

std::vector<NamedRows> qkv_rows(const ModelFiles& model, const Shard& shard, int layer) {
  const ModelSpec& s = model.spec;
  const auto rows = [&](const std::string& pattern, int heads, IndexRange take) {
    return NamedRows{layer_name(pattern, layer),
                     int64_t{heads} * s.head_dim,
                     s.hidden,
                     {take.first * s.head_dim, take.count * s.head_dim}};
  };
  return {rows(model.names.query, s.num_heads, shard.heads), rows(model.names.key, s.num_kv_heads, shard.kv_heads),
          rows(model.names.value, s.num_kv_heads, shard.kv_heads)};
}

std::vector<NamedRows> gate_up_rows(const ModelFiles& model, const Shard& shard, int layer) {
  const ModelSpec& s = model.spec;
  return {{layer_name(model.names.gate, layer), s.intermediate, s.hidden, shard.mlp_columns},
          {layer_name(model.names.up, layer), s.intermediate, s.hidden, shard.mlp_columns}};
}

NamedRows head_rows(const ModelFiles& model, const Shard& shard) {
  return {head_name(model), model.spec.vocab, model.spec.hidden, shard.vocab};
}

/// Rows of one matrix with a slice of its columns, cut into the leaves of a reduction tree.
struct SlicedMatrix {
  std::string name;
  int64_t rows = 0, cols = 0;
  IndexRange columns;
  std::vector<ColumnLeaf> leaves;
};

/// grain: columns of one grain of the tree.
SlicedMatrix sliced(const std::string& name, int64_t rows, int64_t cols, int64_t grain, const ReductionTree& tree,
                    int part) {
  SlicedMatrix matrix{name, rows, cols, {}, {}};
  for (const ReductionTree::Leaf& leaf : tree.leaves(part)) {
    const int64_t first = leaf.first_grain * grain;
    const int64_t end = std::min((leaf.first_grain + leaf.num_grains) * grain, cols);
    if (matrix.leaves.empty()) matrix.columns.first = first;
    matrix.columns.count = end - matrix.columns.first;
    matrix.leaves.push_back({.num_cols = end - first, .merges = leaf.merges, .slot = leaf.slot});
  }
  return matrix;
}

SlicedMatrix output_matrix(const ModelFiles& model, const Shard& shard, int layer) {
  const ModelSpec& s = model.spec;
  return sliced(layer_name(model.names.output, layer), s.hidden, int64_t{s.num_heads} * s.head_dim, s.head_dim,
                shard.attention_tree, shard.place.tp);
}

SlicedMatrix down_matrix(const ModelFiles& model, const Shard& shard, int layer) {
  const ModelSpec& s = model.spec;
  return sliced(layer_name(model.names.down, layer), s.hidden, s.intermediate, kMlpGrain, shard.mlp_tree,
                shard.place.tp);
}

/// Calls rows(parts) for each projection of the shard that is packed by rows, and slice(matrix) for each cut by
/// columns, in the order in which they are used.
template <typename Rows, typename Slice>
void visit_projections(const ModelFiles& model, const Shard& shard, const Rows& rows, const Slice& slice) {
  for (int64_t i = shard.layers.first; i < shard.layers.end(); ++i) {
    const int layer = static_cast<int>(i);
    if (shard.heads.count > 0) {
      rows(qkv_rows(model, shard, layer));
      slice(output_matrix(model, shard, layer));
    }
    if (shard.mlp_columns.count > 0) {
      rows(gate_up_rows(model, shard, layer));
      slice(down_matrix(model, shard, layer));
    }
  }
}

/// Packs what a shard needs and keeps the small vectors.
class Loader {
 public:
  Loader(const ModelFiles& model, const Shard& shard, Backend& backend, Progress* progress)
      : model_(model), shard_(shard), backend_(backend), progress_(progress) {}

  StageWeights load() {
    check_shard(model_, shard_, backend_);
    const WeightNames& names = model_.names;
    if (shard_.is_first_stage()) {
      out_.embedding =
          backend_.make_embedding(model_.weights->matrix(names.embedding, model_.spec.vocab, model_.spec.hidden));
    }
    for (int64_t layer = shard_.layers.first; layer < shard_.layers.end(); ++layer) load_layer(static_cast<int>(layer));
    if (shard_.is_last_stage()) {
      out_.final_norm = norm(names.final_norm);
      out_.head = pack_rows({head_rows(model_, shard_)});
    }
    return std::move(out_);
  }

 private:
  void load_layer(int layer) {
    const WeightNames& names = model_.names;
    const ModelSpec& spec = model_.spec;
    LayerWeights w;
    w.attention_norm = norm(layer_name(names.attention_norm, layer));
    w.mlp_norm = norm(layer_name(names.mlp_norm, layer));
    w.post_attention_norm = optional_norm(names.post_attention_norm, layer, spec.hidden);
    w.post_mlp_norm = optional_norm(names.post_mlp_norm, layer, spec.hidden);
    if (shard_.heads.count > 0) {
      const std::vector<NamedRows> rows = qkv_rows(model_, shard_, layer);
      w.qkv = pack_rows(rows);
      w.qkv.bias = qkv_bias(rows, layer);
      w.query_norm = optional_norm(names.query_norm, layer, spec.head_dim);
      w.key_norm = optional_norm(names.key_norm, layer, spec.head_dim);
      w.output = pack_slice(output_matrix(model_, shard_, layer));
    }
    if (shard_.mlp_columns.count > 0) {
      w.gate_up = pack_rows(gate_up_rows(model_, shard_, layer), true);
      w.down = pack_slice(down_matrix(model_, shard_, layer));
    }
    out_.layers.push_back(std::move(w));
  }

  /// gated: two parts, interleaved where they are of one coding.
  Projection pack_rows(const std::vector<NamedRows>& parts, bool gated = false) {
    Projection projection;
    std::vector<std::shared_ptr<const MatrixSource>> sources;
    PackPlan plan;
    int64_t column = 0, packed_to = 0;
    const auto flush = [&] {
      if (plan.rows.empty()) return;
      plan.leaves = {{.num_cols = plan.rows[0].source->cols(), .merges = 0, .slot = 0}};
      plan.interleaved = gated && plan.rows.size() == 2 && plan.rows[0].num_rows % kQuantGroup == 0;
      projection.interleaved = plan.interleaved;
      projection.pieces.push_back({backend_.pack(plan), packed_to});
      plan.rows.clear();
      packed_to = column;
    };
    for (const NamedRows& part : parts) {
      if (part.take.count == 0) continue;
      sources.push_back(model_.weights->matrix(part.name, part.rows, part.cols));
      const MatrixSource* source = sources.back().get();
      if (!plan.rows.empty() && !(plan.rows[0].source->coding() == source->coding())) flush();
      plan.rows.push_back({.source = source, .first_row = part.take.first, .num_rows = part.take.count});
      column += part.take.count;
      advance(part.name, part.take.count, part.rows);
    }
    flush();
    return projection;
  }

  Projection pack_slice(const SlicedMatrix& matrix) {
    const auto source = model_.weights->matrix(matrix.name, matrix.rows, matrix.cols);
    const PackPlan plan{.rows = {{.source = source.get(), .first_row = 0, .num_rows = matrix.rows}},
                        .first_col = matrix.columns.first,
                        .leaves = matrix.leaves};
    Projection projection;
    projection.pieces.push_back({backend_.pack(plan), 0});
    advance(matrix.name, matrix.columns.count, matrix.cols);
    return projection;
  }

  void advance(const std::string& name, int64_t part, int64_t whole) {
    if (progress_)
      progress_->advance(model_.weights->find(name)->num_bytes * static_cast<uint64_t>(part) /
                         static_cast<uint64_t>(whole));
  }

  const float* keep(const std::vector<float>& values) {
    out_.vectors.push_back(backend_.allocate(values.size() * sizeof(float)));
    Buffer& buffer = *out_.vectors.back();
    backend_.copy_from_host(buffer.data(), values.data(), values.size() * sizeof(float));
    return reinterpret_cast<const float*>(buffer.data());
  }

  const float* norm(const std::string& name, int64_t size = 0) {
    std::vector<float> values = model_.weights->vector(name, size == 0 ? model_.spec.hidden : size);
    for (float& value : values) value += model_.spec.norm_offset;
    return keep(values);
  }

  const float* optional_norm(const std::string& pattern, int layer, int64_t size) {
    if (pattern.empty()) return nullptr;
    const std::string name = layer_name(pattern, layer);
    return model_.weights->has(name) ? norm(name, size) : nullptr;
  }

  /// Biases of the rows taken, side by side; all three or none.
  const float* qkv_bias(const std::vector<NamedRows>& rows, int layer) {
    const std::string patterns[] = {model_.names.query_bias, model_.names.key_bias, model_.names.value_bias};
    std::vector<float> values;
    int present = 0;
    for (int i = 0; i < 3; ++i) {
      const std::string name = layer_name(patterns[i], layer);
      if (!model_.weights->has(name)) continue;
      ++present;
      const std::vector<float> all = model_.weights->vector(name, rows[i].rows);
      values.insert(values.end(), all.begin() + rows[i].take.first, all.begin() + rows[i].take.end());
    }
    if (present == 0) return nullptr;
    if (present != 3) {
      throw Error(Part::model, model_.weights->path() + ": layer " + std::to_string(layer) +
                                   " has some but not all of the query, key and value biases");
    }
    return keep(values);
  }

  const ModelFiles& model_;
  const Shard& shard_;
  Backend& backend_;
  Progress* progress_;
  StageWeights out_;
};

}  // namespace

int64_t Projection::rows() const {
  int64_t total = 0;
  for (const Piece& piece : pieces) total += piece.matrix->rows();
  return total;
}

size_t Projection::size_bytes() const {
  size_t total = 0;
  for (const Piece& piece : pieces) total += piece.matrix->size_bytes();
  return total;
}

size_t StageWeights::size_bytes() const {
  size_t total = head.size_bytes();
  for (const LayerWeights& layer : layers) {
    total += layer.qkv.size_bytes() + layer.output.size_bytes() + layer.gate_up.size_bytes() + layer.down.size_bytes();
  }
  return total;
}

/// The attention output is cut into leaves at borders of heads. Quantised weights come in groups of 32 columns, and so
/// do the activations of integer products: a border inside a group would make numbers depend on the layout.
void check_shard(const ModelFiles& model, const Shard& shard, const Backend& backend) {
  const int head_dim = model.spec.head_dim;
  const bool integers = backend.compute() == Compute::int8;
  if (head_dim % kQuantGroup == 0 || shard.heads.count == 0 || (!integers && shard.tp == 1)) return;
  for (int64_t layer = shard.layers.first; layer < shard.layers.end(); ++layer) {
    const std::string name = layer_name(model.names.output, static_cast<int>(layer));
    if (model.weights->matrix(name)->coding().kind == Coding::Kind::floats) continue;
    throw Error(Part::model, fmt::format("{}: heads of {} are not a multiple of {} wide and {} is quantised: use "
                                         "--compute bf16 or f32 and -tp 1, or weights in BF16, F16 or F32",
                                         model.weights->path(), head_dim, kQuantGroup, name));
  }
}

StageWeights load_stage_weights(const ModelFiles& model, const Shard& shard, Backend& backend, Progress* progress) {
  return Loader(model, shard, backend, progress).load();
}

size_t stage_weight_bytes(const ModelFiles& model, const Shard& shard, const Backend& backend) {
  // Rows of equal coding are packed together and rounded up once: count runs as the loader makes them.
  size_t total = 0;
  const auto add_rows = [&](const std::vector<NamedRows>& parts) {
    int64_t run = 0, cols = 0;
    Coding coding;
    for (const NamedRows& part : parts) {
      if (part.take.count == 0) continue;
      const Coding next = model.weights->matrix(part.name, part.rows, part.cols)->coding();
      if (run > 0 && !(next == coding)) {
        total += backend.packed_bytes(coding, run, cols);
        run = 0;
      }
      coding = next;
      cols = part.cols;
      run += part.take.count;
    }
    if (run > 0) total += backend.packed_bytes(coding, run, cols);
  };
  visit_projections(model, shard, add_rows, [&](const SlicedMatrix& matrix) {
    total += backend.packed_bytes(model.weights->matrix(matrix.name, matrix.rows, matrix.cols)->coding(), matrix.rows,
                                  matrix.columns.count);
  });
  if (shard.is_last_stage()) add_rows({head_rows(model, shard)});
  return total;
}

std::vector<KeptMatrix> stage_matrices(const ModelFiles& model, const Shard& shard) {
  std::vector<KeptMatrix> matrices;
  const auto add_rows = [&](const std::vector<NamedRows>& parts) {
    for (const NamedRows& part : parts) {
      if (part.take.count > 0) matrices.push_back({part.name, part.take.count, part.cols, part.rows, part.cols});
    }
  };
  visit_projections(model, shard, add_rows, [&](const SlicedMatrix& matrix) {
    matrices.push_back({matrix.name, matrix.rows, matrix.columns.count, matrix.rows, matrix.cols});
  });
  if (!shard.is_last_stage()) return matrices;
  const size_t num_layer_matrices = matrices.size();
  add_rows({head_rows(model, shard)});
  if (matrices.size() > num_layer_matrices) matrices.back().is_head = true;
  return matrices;
}

uint64_t stage_file_bytes(const ModelFiles& model, const Shard& shard) {
  uint64_t total = 0;
  for (const KeptMatrix& matrix : stage_matrices(model, shard)) {
    if (const TensorInfo* info = model.weights->find(matrix.name)) {
      const bool columns = matrix.rows == matrix.all_rows;
      const auto part = static_cast<uint64_t>(columns ? matrix.cols : matrix.rows);
      total += info->num_bytes * part / static_cast<uint64_t>(columns ? matrix.all_cols : matrix.all_rows);
    }
  }
  return total;
}

double head_cost(const ModelFiles& model) {
  const auto bytes = [&](const std::string& name) -> double {
    const TensorInfo* info = model.weights->find(name);
    return info ? static_cast<double>(info->num_bytes) : 0.0;
  };
  const WeightNames& n = model.names;
  double layer = 0;
  for (const std::string* pattern : {&n.query, &n.key, &n.value, &n.output, &n.gate, &n.up, &n.down})
    layer += bytes(layer_name(*pattern, 0));
  return layer > 0 ? 0.5 * bytes(head_name(model)) / layer : 0.0;
}

}  // namespace echelon
