#include "engine/model_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "engine/grammar/grammar.h"
#include "engine/text_model.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

/// What the bits of an answer depend on: the arithmetic, and the weights by a sample of every tensor.
std::string fingerprint(Compute compute, KvType kv_type, const WeightFile& weights) {
  constexpr size_t kSampleBytes = 256;
  uint64_t digest = 0xcbf29ce484222325u;  // FNV-1a
  const auto add = [&](std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) digest = (digest ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  };
  for (const WeightFile::Tensor& tensor : weights.tensors()) {
    add(std::as_bytes(std::span(tensor.info.name)));
    const size_t middle = tensor.data.size() / 2;
    add(tensor.data.subspan(middle, std::min(kSampleBytes, tensor.data.size() - middle)));
  }
  const char* name = compute == Compute::int8 ? "int8" : compute == Compute::bf16 ? "bf16" : "f32";
  const char* kv_name = kv_type == KvType::int8 ? "int8" : kv_type == KvType::bf16 ? "bf16" : "f32";
  const std::string cache = kv_type == default_kv_type(compute) ? "" : fmt::format("kv-{}-", kv_name);
  return fmt::format("echelon-{}-{}{:016x}", name, cache, digest);
}

}  // namespace

std::shared_ptr<ModelInfo> make_model_info(const EngineOptions& options, const OpenModel& open) {
  const TextModel text = read_text_model(open, options.chat_template);
  for (const std::string& warning : text.warnings) log::warn("{}", warning);
  const ModelSpec& spec = open.files.spec;
  auto info = std::make_shared<ModelInfo>();
  info->name = options.served_model_name;
  if (info->name.empty()) {
    const std::filesystem::path path(open.path.path);
    info->name = path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
  }
  info->root = options.model;
  info->family = spec.family;
  info->fingerprint = fingerprint(options.compute, options.kv_type, *open.files.weights);
  info->created_unix_s = std::time(nullptr);
  info->max_model_len = static_cast<int>(options.max_model_len > 0 ? std::min(options.max_model_len, spec.max_context)
                                                                   : spec.max_context);
  info->vocab_size = spec.vocab;
  info->hidden_size = spec.hidden;
  info->tokenizer = text.tokenizer;
  info->chat_template = text.chat_template;
  info->tool_call_parser = options.tool_call_parser;
  info->reasoning_parser = options.reasoning_parser;
  info->bos_text = text.bos_text;
  info->eos_text = text.eos_text;
  info->default_sampling = text.default_sampling;
  info->end_tokens = text.end_tokens;
  info->default_seed = options.default_seed;
  info->grammars =
      std::make_shared<GrammarCache>(make_grammar_vocabulary(*text.tokenizer, text.end_tokens, spec.vocab));
  return info;
}

}  // namespace echelon
