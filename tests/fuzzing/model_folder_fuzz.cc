// A Hugging Face folder's small files: config.json, generation_config.json, tokenizer_config.json, the index of its
// shards. An input is all four, with a line "--" between them.
#include "engine/model/open_model.h"
#include "engine/text_model.h"
#include "kernels/base/error.h"
#include "tests/engine/weights/file_builder.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr std::string_view kTokenizer =
    R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "</s>": 3}, "merges": ["a b"]}, )"
    R"("pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}, )"
    R"("decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 3, "content": "</s>", "special": true}]})";
constexpr const char* kFiles[] = {"config.json", "generation_config.json", "tokenizer_config.json",
                                  "model.safetensors.index.json"};

const MemoryFolder& folder() {
  static const MemoryFolder folder;
  static const bool filled = [] {
    folder.write("tokenizer.json", kTokenizer);
    folder.write(
        "one.safetensors",
        testing::build_safetensors(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", "12345678"));
    return true;
  }();
  static_cast<void>(filled);
  return folder;
}

void run(std::string_view input) {
  Pieces pieces(input);
  for (const char* name : kFiles) folder().write(name, pieces.until("\n--\n"));
  try {
    read_text_model(open_model(folder().path()));
  } catch (const Error&) {
  }
}

std::vector<std::string> seeds() {
  const std::string rest =
      "\n--\n"
      R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "eos_token_id": [2, 3]})"
      "\n--\n"
      R"({"eos_token": "</s>", "bos_token": {"content": "a"}, "add_bos_token": true, "chat_template": "{{ messages }}"})"
      "\n--\n"
      R"({"metadata": {"total_size": 8}, "weight_map": {"a": "one.safetensors"}})";
  return {
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, )"
      R"("num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4, )"
      R"("max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": {"rope_type": "llama3", )"
      R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}})" +
          rest,
      R"({"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 32, "intermediate_size": 64, )"
      R"("num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 4, )"
      R"("max_position_embeddings": 64, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], )"
      R"("query_pre_attn_scalar": 16, "rope_local_base_freq": 10000, "hidden_activation": "gelu_pytorch_tanh"})" +
          rest,
      R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 32, "intermediate_size": 64, )"
      R"("num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 4, )"
      R"("max_position_embeddings": 64, "use_sliding_window": false, "tie_word_embeddings": true})" +
          rest};
}

const Target target("model_folder", run, seeds,
                    {"\n--\n",
                     "architectures",
                     "\"MistralForCausalLM\"",
                     "\"Gemma3ForCausalLM\"",
                     "\"Qwen2ForCausalLM\"",
                     "rope_scaling",
                     "rope_parameters",
                     "sliding_window",
                     "sliding_window_pattern",
                     "layer_types",
                     "attention_bias",
                     "partial_rotary_factor",
                     "text_config",
                     "quantization_config",
                     "torch_dtype",
                     "null",
                     "true",
                     "1e308",
                     "-1",
                     "9223372036854775807",
                     "18446744073709551615",
                     "0.0",
                     "[]",
                     "{}"});

}  // namespace
}  // namespace echelon::fuzzing
