// The vocabulary of a real GGUF model, for the tests of this room.
// A missing model is a failure that names the command which fetches it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "engine/text/tokenizer.h"
#include "engine/weights/gguf.h"

namespace echelon::test {

inline constexpr const char* kSmollmFile = "SmolLM2-135M-Instruct.Q4_1.gguf";
inline constexpr const char* kGemmaFile = "gemma-3-270m-q4_k_m.gguf";

inline std::string model_path(const std::string& file) {
  const char* folder = std::getenv("ECHELON_MODELS");
  const char* home = std::getenv("HOME");
  const std::string base = folder ? folder : std::string(home ? home : "") + "/.cache/echelon/models";
  const std::string path = base + "/" + file;
  if (!std::filesystem::exists(path)) throw std::runtime_error(path + " is missing; launch/fetch-model fetches it");
  return path;
}

inline std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot read " + path);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline std::string golden_file(const std::string& name) {
  return read_file(std::string(ECHELON_SOURCE_DIR) + "/tests/golden/" + name);
}

inline Vocabulary model_vocabulary(const std::string& file) {
  const auto gguf = GgufFile::open(model_path(file));
  Vocabulary vocabulary;
  vocabulary.kind = gguf->get_string("tokenizer.ggml.model") == "gpt2" ? VocabularyKind::byte_level_bpe
                                                                       : VocabularyKind::sentencepiece;
  vocabulary.pre_tokenizer = gguf->find_string("tokenizer.ggml.pre").value_or("");
  for (const auto token : gguf->get_strings("tokenizer.ggml.tokens")) vocabulary.tokens.emplace_back(token);
  for (const auto merge : gguf->find_strings("tokenizer.ggml.merges").value_or(std::vector<std::string_view>())) {
    vocabulary.merges.emplace_back(merge);
  }
  vocabulary.scores = gguf->find_floats("tokenizer.ggml.scores").value_or(std::vector<float>());
  vocabulary.token_types = gguf->find_ints("tokenizer.ggml.token_type").value_or(std::vector<int64_t>());
  vocabulary.bos_id = gguf->find_int("tokenizer.ggml.bos_token_id");
  vocabulary.eos_id = gguf->find_int("tokenizer.ggml.eos_token_id");
  vocabulary.unknown_id = gguf->find_int("tokenizer.ggml.unknown_token_id");
  vocabulary.padding_id = gguf->find_int("tokenizer.ggml.padding_token_id");
  vocabulary.add_bos = gguf->find_bool("tokenizer.ggml.add_bos_token").value_or(false);
  vocabulary.add_eos = gguf->find_bool("tokenizer.ggml.add_eos_token").value_or(false);
  vocabulary.add_space_prefix = gguf->find_bool("tokenizer.ggml.add_space_prefix").value_or(false);
  return vocabulary;
}

}  // namespace echelon::test
