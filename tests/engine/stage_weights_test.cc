// What a shard cannot load is refused with a reason before anything is packed.
#include "engine/model/stage_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/weights/file_builder.h"

namespace echelon {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr int kHeadDim = 80, kNumHeads = 2, kHidden = 64;

/// One layer of which only the attention output is there.
ModelFiles only_the_output(const TemporaryFolder& folder, TensorType type, const std::string& type_name,
                           uint64_t bytes_of_32) {
  ModelFiles model;
  model.spec.hidden = kHidden;
  model.spec.intermediate = 64;
  model.spec.vocab = 64;
  model.spec.num_layers = 1;
  model.spec.num_heads = model.spec.num_kv_heads = kNumHeads;
  model.spec.head_dim = kHeadDim;
  model.spec.layers.resize(1);
  model.names = gguf_weight_names("llama");
  const uint64_t num_bytes = bytes_of_32 * kHidden * kNumHeads * kHeadDim / 32;
  const auto file = MappedFile::open(folder.write("w", std::string(num_bytes, '\0')));
  model.weights = std::make_shared<WeightFile>(
      file->path(), std::vector<WeightFile::Tensor>{{.info = {.name = layer_name(model.names.output, 0),
                                                              .type = type,
                                                              .type_name = type_name,
                                                              .shape = {kHidden, kNumHeads * kHeadDim},
                                                              .num_bytes = num_bytes},
                                                     .file = file,
                                                     .data = file->bytes()}});
  return model;
}

std::string load(const ModelFiles& model, Compute compute, int tp) {
  const auto backend = make_cpu_backend({.compute = compute});
  const Shard shard = make_shard(model.spec, {.dp = 1, .tp = tp, .pp = 1}, {}, {1});
  return error_of([&] { load_stage_weights(model, shard, *backend, nullptr); });
}

TEST(StageWeights, QuantisedHeadsThatCutAGroupAreRefusedWhereNumbersWouldDependOnTheLayout) {
  const TemporaryFolder folder;
  const ModelFiles quantised = only_the_output(folder, TensorType::q8_0, "Q8_0", 34);
  const auto refused = AllOf(HasSubstr("heads of 80"), HasSubstr("attn_output"), HasSubstr("--compute bf16"));
  EXPECT_THAT(load(quantised, Compute::int8, 1), refused);
  EXPECT_THAT(load(quantised, Compute::int8, 2), refused);
  EXPECT_THAT(load(quantised, Compute::bf16, 2), refused);
  // The next thing in these files that is wrong is a tensor that is missing.
  EXPECT_THAT(load(quantised, Compute::bf16, 1), HasSubstr("is missing"));
  const ModelFiles floats = only_the_output(folder, TensorType::f32, "F32", 128);
  EXPECT_THAT(load(floats, Compute::int8, 2), HasSubstr("is missing"));
}

/// Q5_1 and Q5_K once had a zero beside a minimum, which packing refuses: a file of them ended the process.
TEST(StageWeights, EveryQuantisedTypeCanBePacked) {
  const auto backend = make_cpu_backend({.compute = Compute::int8});
  for (const TensorType type : {TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,
                                TensorType::q8_0, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k}) {
    EXPECT_GT(backend->packed_bytes(tensor_type_info(type).coding, 16, 256), 16u * 256 / 2);
  }
}

}  // namespace
}  // namespace echelon
