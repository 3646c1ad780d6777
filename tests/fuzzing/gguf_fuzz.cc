// GGUF files: every value of the metadata, every tensor, and what a model and its text side are made from.
#include "engine/model/open_model.h"
#include "engine/text_model.h"
#include "engine/weights/weight_file.h"
#include "tests/engine/weights/file_builder.h"
#include "tests/engine/weights/read_tensors.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

/// Reads a value as everything that it might be.
void read_value(const GgufFile& file, std::string_view key) {
  const auto attempt = [](auto read) {
    try {
      read();
    } catch (const Error&) {
    }
  };
  attempt([&] { file.get_int(key); });
  attempt([&] { file.get_uint(key); });
  attempt([&] { file.get_float(key); });
  attempt([&] { file.get_bool(key); });
  attempt([&] { file.get_string(key); });
  attempt([&] { file.get_ints(key); });
  attempt([&] { file.get_floats(key); });
  attempt([&] { file.get_bools(key); });
  attempt([&] { file.get_strings(key); });
}

void run(std::string_view input) {
  static const MemoryFile memory;
  memory.write(input);
  try {
    const auto file = GgufFile::open(memory.path());
    for (const std::string_view key : file->keys()) read_value(*file, key);
    read_tensors(*open_gguf(file));
    read_text_model(open_model(memory.path()));
  } catch (const Error&) {
  }
}

/// Metadata as a writer has it: keys, types and values.
class Metadata {
 public:
  void text(const std::string& key, std::string_view value) {
    name(key, 8);
    file_.put_text("", value);
  }
  template <typename T>
  void number(const std::string& key, uint32_t type, T value) {
    name(key, type);
    file_.put<T>("", value);
  }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    name(key, 9);
    file_.put<uint32_t>("", 8);
    file_.put<uint64_t>("", values.size());
    for (const std::string& value : values) file_.put_text("", value);
  }
  template <typename T>
  void numbers(const std::string& key, uint32_t type, const std::vector<T>& values) {
    name(key, 9);
    file_.put<uint32_t>("", type);
    file_.put<uint64_t>("", values.size());
    for (const T value : values) file_.put<T>("", value);
  }
  /// A file with one tensor of 4 x 32 float32.
  std::string whole() const {
    testing::BuiltFile file;
    file.put<uint32_t>("", 0x46554747);
    file.put<uint32_t>("", 3);
    file.put<uint64_t>("", 1);
    file.put<uint64_t>("", count_);
    file.bytes += file_.bytes;
    file.put_text("", "token_embd.weight");
    file.put<uint32_t>("", 2);
    file.put<uint64_t>("", 32);
    file.put<uint64_t>("", 4);
    file.put<uint32_t>("", 0);
    file.put<uint64_t>("", 0);
    file.bytes.resize((file.bytes.size() + 31) / 32 * 32 + 32 * 4 * 4);
    return file.bytes;
  }

 private:
  void name(const std::string& key, uint32_t type) {
    file_.put_text("", key);
    file_.put<uint32_t>("", type);
    ++count_;
  }
  testing::BuiltFile file_;
  uint64_t count_ = 0;
};

/// The sizes of a small llama.
Metadata small_llama() {
  Metadata data;
  data.text("general.architecture", "llama");
  for (const auto& [key, value] : {std::pair("embedding_length", 32u),
                                   {"feed_forward_length", 64u},
                                   {"block_count", 1u},
                                   {"attention.head_count", 2u},
                                   {"attention.head_count_kv", 1u},
                                   {"vocab_size", 4u},
                                   {"context_length", 64u},
                                   {"rope.dimension_count", 16u}})
    data.number<uint32_t>(std::string("llama.") + key, 4, value);
  data.number<float>("llama.attention.layer_norm_rms_epsilon", 6, 1e-5f);
  data.number<float>("llama.rope.freq_base", 6, 10000.0f);
  return data;
}

std::vector<std::string> seeds() {
  Metadata bpe = small_llama();
  bpe.text("tokenizer.ggml.model", "gpt2");
  bpe.text("tokenizer.ggml.pre", "gpt-2");
  bpe.texts("tokenizer.ggml.tokens", {"a", "b", "ab", "</s>"});
  bpe.texts("tokenizer.ggml.merges", {"a b"});
  bpe.numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 1, 1, 3});
  bpe.number<uint32_t>("tokenizer.ggml.eos_token_id", 4, 3);
  bpe.text("tokenizer.chat_template", "{{ messages[0]['content'] }}");
  Metadata pieces = small_llama();
  pieces.text("tokenizer.ggml.model", "llama");
  pieces.texts("tokenizer.ggml.tokens", {"<unk>", "</s>",
                                         "\xe2\x96\x81"
                                         "a",
                                         "<0x61>"});
  pieces.numbers<float>("tokenizer.ggml.scores", 6, {0, 0, -1, -2});
  pieces.numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 1, 6});
  pieces.number<uint8_t>("tokenizer.ggml.add_bos_token", 7, 0);
  return {testing::build_gguf().bytes, bpe.whole(), pieces.whole()};
}

const Target target("gguf", run, seeds,
                    {"GGUF", "general.architecture", "general.alignment", "split.count", "split.no",
                     "split.tensors.count", "llama", "qwen2", "gemma3", "tokenizer.ggml.model", "gpt2",
                     "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.pre", "tokenizer.chat_template",
                     ".rope.scaling.type", ".attention.sliding_window", "rope_freqs.weight"});

}  // namespace
}  // namespace echelon::fuzzing
