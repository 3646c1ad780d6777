// What a device does for a stage of the model: memory, packed weights, and the operations of one forward pass.
//
// A stage (engine/stage) calls these in order for one micro-batch of `rows` tokens. All matrices are float32, row-major, in the
// backend's memory. Every operation is a function of each row (and the keys before it) alone: no bit of a row depends on
// the other rows, on how rows are divided into calls, or on the number of threads; ARCHITECTURE.md, "Numbers that do not move".
// A backend is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/token.h"
#include "kernels/kv_type.h"
#include "kernels/matrix_source.h"
#include "kernels/reduction_tree.h"

namespace echelon {

/// Arithmetic of the products with weights. int8: activations quantised per 32 values, exact integer dots. bf16: weights held as
/// bfloat16 (rounded if the file has more), activations float32. f32: weights as exact as the file, activations float32.
enum class Compute { int8, bf16, f32 };

/// What the KV cache holds unless it is said otherwise.
KvType default_kv_type(Compute compute);

/// Owned memory of a backend, 64-byte aligned, zeroed. Freed with the object; the backend must outlive it.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::byte* data() = 0;
  virtual size_t size_bytes() const = 0;
};

/// Borrowed view of a float32 matrix [rows, cols]; rows lie `stride` floats apart.
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;
  float* row(int64_t r) const { return data + r * stride; }
};

/// Rows of activations as the products want them (quantised, or float32): written by norms, gates and attention, read by linear().
/// Opaque: each backend has its own layout. Capacity is fixed when it is made.
class Activation {
 public:
  virtual ~Activation() = default;
};

/// The RMS norm that the next product reads; no `out`: none.
struct NextNorm {
  const float* weight = nullptr;
  Activation* out = nullptr;
};

/// A weight matrix in a backend's own layout. Immutable.
class PackedMatrix {
 public:
  virtual ~PackedMatrix() = default;
  virtual int64_t rows() const = 0;        ///< output features
  virtual int64_t cols() const = 0;        ///< input features kept
  virtual int num_slots() const = 0;       ///< partial sums it emits; 1 for a column-parallel product
  virtual size_t size_bytes() const = 0;   ///< in the backend's memory
};

/// Rows [first_row, first_row + num_rows) of a source.
struct RowRange {
  const MatrixSource* source = nullptr;
  int64_t first_row = 0, num_rows = 0;
};

/// One leaf of the columns kept: the next num_cols columns, then the postfix program of ReductionTree.
struct ColumnLeaf {
  int64_t num_cols = 0;
  int merges = 0;
  int slot = -1;
};

/// What to pack: the row ranges one below the other (all of one coding), columns [first_col, ...) as the leaves say.
/// Column-parallel products have one leaf {cols, 0, 0}.
struct PackPlan {
  std::vector<RowRange> rows;
  int64_t first_col = 0;
  std::vector<ColumnLeaf> leaves;
  /// For gated_linear(): two row ranges of as many rows, a multiple of 32, one leaf.
  bool interleaved = false;
};

/// Token embeddings, read a row at a time. Holds the source.
class EmbeddingTable {
 public:
  virtual ~EmbeddingTable() = default;
};

enum class Gate { silu, gelu_tanh };
enum class RopeStyle { none, halves, interleaved };  ///< pairs (i, i + d/2), or (2i, 2i + 1)

/// cos and sin of position * frequency for positions [0, max_positions): [max_positions][rotary_dim / 2] pairs.
class RopeTable {
 public:
  virtual ~RopeTable() = default;
};

struct RopePlan {
  int rotary_dim = 0;                 ///< leading dimensions of a head that turn; even
  double base = 10000.0;
  std::vector<float> frequency_factors;  ///< divides frequency i; empty: all 1 (Llama 3's long-context scaling)
  double position_scale = 1.0;        ///< multiplies positions (linear scaling)
  float magnitude = 1.0f;             ///< multiplies cos and sin (YaRN's attention factor)
  int64_t max_positions = 0;
};

/// The KV cache of one rank: num_blocks blocks of 32 tokens; one block holds all local layers, inside a layer its KV heads, inside a
/// head K as [head_dim][32], V as [32][head_dim] and, with int8 only, a float32 scale of each token for K [32] and for V [32],
/// one after the other. With bf16 pairs lie side by side: K as [head_dim / 2][32][2], V as [16][head_dim][2]. A head is a
/// multiple of 16 wide, so each of the pieces is 64-byte aligned.
struct KvCacheView {
  std::byte* data = nullptr;
  KvType type = KvType::bf16;
  int64_t num_blocks = 0;
  int num_layers = 0, num_kv_heads = 0, head_dim = 0;
  int64_t element_bytes() const { return type == KvType::int8 ? 1 : type == KvType::bf16 ? 2 : 4; }
  int64_t value_offset() const { return int64_t{32} * head_dim * element_bytes(); }  ///< from a head's K to its V
  int64_t scale_offset() const { return 2 * value_offset(); }  ///< to its scales, K's and then V's
  int64_t head_bytes() const { return scale_offset() + (type == KvType::int8 ? 2 * 32 * 4 : 0); }
  int64_t layer_bytes() const { return head_bytes() * num_kv_heads; }
  int64_t block_bytes() const { return layer_bytes() * num_layers; }
  std::byte* head(int64_t block, int layer, int kv_head) const {
    return data + block * block_bytes() + layer * layer_bytes() + kv_head * head_bytes();
  }
};

/// Consecutive rows of a micro-batch that belong to one sequence, at consecutive positions.
struct Segment {
  int first_row = 0, num_rows = 0;
  int first_position = 0;
  std::span<const int32_t> blocks;  ///< block table: position p lies in blocks[p / 32]; covers first_position + num_rows
};

/// Attention heads of one layer on this rank. Columns of a QKV row: query heads, then key heads, then value heads.
struct AttentionPlan {
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;  ///< local
  std::vector<int> kv_head_of_head;                   ///< local query head -> local KV head
  float scale = 0;                                    ///< of the scores
  int window = 0;                                     ///< keys a query sees, itself included; 0: all
  float softcap = 0;                                  ///< 0: none; else cap * tanh(score / cap)
  const float* q_norm = nullptr;                      ///< [head_dim] RMS norm of every query head before rope; null: none
  const float* k_norm = nullptr;
  float norm_epsilon = 0;
  RopeStyle rope_style = RopeStyle::none;
  const RopeTable* rope = nullptr;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;  ///< of the kernels, as "avx512-vnni"
  virtual Compute compute() const = 0;

  // Memory. Device buffers are not dereferenced by a caller unless is_host() is true.
  virtual std::unique_ptr<Buffer> allocate(size_t size_bytes) = 0;
  virtual bool is_host() const = 0;
  virtual void copy_to_host(void* host, const void* device, size_t size_bytes) = 0;
  virtual void copy_from_host(void* device, const void* host, size_t size_bytes) = 0;
  virtual void synchronize() = 0;
  /// Host threads that run_on_host() can use at once.
  virtual int num_host_threads() const = 0;
  /// Calls f(part) once for every part in [0, num_parts), several at a time; returns when all are done.
  virtual void run_on_host(int num_parts, const std::function<void(int)>& f) = 0;

  // Weights.
  virtual std::unique_ptr<PackedMatrix> pack(const PackPlan& plan) = 0;
  /// Bytes pack() would keep, from shapes and coding alone.
  virtual size_t packed_bytes(const Coding& coding, int64_t rows, int64_t cols) const = 0;
  virtual std::unique_ptr<EmbeddingTable> make_embedding(std::shared_ptr<const MatrixSource> source) = 0;
  virtual std::unique_ptr<RopeTable> make_rope(const RopePlan& plan) = 0;
  virtual std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols) = 0;
  virtual size_t activation_bytes(int64_t max_rows, int64_t cols) const = 0;

  // One forward pass.
  /// out[r] = scale * table[tokens[r]]. Tokens are in range (checked).
  virtual void embed(const EmbeddingTable& table, std::span<const TokenId> tokens, float scale, Matrix out) = 0;
  /// out = x / sqrt(mean(x^2) + epsilon) * weight, row by row.
  virtual void rms_norm(Matrix x, const float* weight, float epsilon, Activation& out) = 0;
  /// The same as floats, exactly those that the other makes activations of. `out` may be `x`.
  virtual void rms_norm(Matrix x, const float* weight, float epsilon, Matrix out) = 0;
  /// out[slot] = the partial sums of x * weight^T (+ bias on slot 0 when not null; column-parallel only). out holds num_slots matrices
  /// [rows, weight.rows()], slot_stride floats apart; columns are written at out.data + first_col.
  virtual void linear(const Activation& x, int64_t rows, const PackedMatrix& weight, const float* bias, Matrix out,
                      int64_t slot_stride) = 0;
  /// QK norm and rope on the query and key columns of qkv in place; keys and values are written to the cache.
  virtual void rope_and_cache(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                              const KvCacheView& cache, int layer) = 0;
  /// Causal attention of the query columns of qkv over the cache, heads side by side, as activations [rows, num_heads * head_dim].
  virtual void attention(Matrix qkv, std::span<const Segment> segments, const AttentionPlan& plan,
                         const KvCacheView& cache, int layer, Activation& out) = 0;
  /// out = gate(x[:, :f]) * x[:, f:2f] with f = x.cols / 2.
  virtual void gated_activation(Matrix x, Gate gate, Activation& out) = 0;
  /// out = gate(x * a^T) * (x * b^T) for the two row ranges a, b of a matrix packed `interleaved`: the bits of linear() and
  /// gated_activation(), but what is between them stays in the caches of the core that made it.
  virtual void gated_linear(const Activation& x, int64_t rows, const PackedMatrix& weight, Gate gate, Activation& out) = 0;
  /// Finishes a reduction tree over all its slots (each a matrix [rows, cols] with the rows `stride` floats apart) and adds it to the
  /// residual stream: hidden += sum, or hidden += rms_norm(sum) * norm when norm is not null (sandwich norms). Then next.out =
  /// rms_norm(hidden, next.weight), if wanted: the bits of rms_norm(), while a row is in the caches of the core that added it.
  virtual void finish_sum(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                          const float* norm, float epsilon, Matrix hidden, NextNorm next) = 0;
  /// Finishes the tree for rows [0, rows) into out, without residual (a rank's slice of a large exchange).
  virtual void reduce_slots(std::span<const float* const> slots, int64_t stride, std::span<const int> finish_merges,
                            Matrix out) = 0;
  /// x = cap * tanh(x / cap), in place.
  virtual void softcap(Matrix x, float cap) = 0;
};

/// The CPU's instruction sets Echelon has kernels for, best last.
enum class CpuIsa { portable, avx2, avx512, avx512_vnni, avx512_bf16 };

struct CpuBackendOptions {
  Compute compute = Compute::int8;
  int num_threads = 1;
  CpuIsa isa = CpuIsa::portable;  ///< see best_cpu_isa()
};

/// The best this machine runs.
CpuIsa best_cpu_isa();
/// "auto" (the best), "portable", "avx2", "avx512", "vnni", "bf16" or a name of to_string(). Throws Error(Part::kernels) for an
/// unknown name, or one this machine lacks.
CpuIsa parse_cpu_isa(std::string_view name);
std::string_view to_string(CpuIsa isa);

std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options);

}  // namespace echelon
