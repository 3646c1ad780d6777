#include "engine/text_model.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "engine/text/chat_template.h"
#include "engine/text/template_check.h"
#include "engine/text/tokenizer.h"
#include "engine/weights/json_file.h"
#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;

std::string read_text_file(const std::string& path, uint64_t most_bytes) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error) throw Error(Part::text, path + ": " + error.message());
  if (size > most_bytes) throw Error(Part::text, path + " has more than " + std::to_string(most_bytes) + " bytes");
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) throw Error(Part::text, path + " cannot be read");
  return text;
}

Vocabulary vocabulary_from_gguf(const GgufFile& file) {
  const std::string_view model = file.get_string("tokenizer.ggml.model");
  Vocabulary v;
  if (model == "gpt2") {
    v.kind = VocabularyKind::byte_level_bpe;
    v.pre_tokenizer = file.find_string("tokenizer.ggml.pre").value_or("");
  } else if (model == "llama") {
    v.kind = VocabularyKind::sentencepiece;
  } else {
    throw Error(Part::text, file.path() + ": tokenizer.ggml.model '" + std::string(model) +
                                "' is not supported (gpt2 and llama are)");
  }
  const auto copy = [](const std::vector<std::string_view>& views) {
    return std::vector<std::string>(views.begin(), views.end());
  };
  v.tokens = copy(file.get_strings("tokenizer.ggml.tokens"));
  if (auto scores = file.find_floats("tokenizer.ggml.scores")) v.scores = std::move(*scores);
  if (auto types = file.find_ints("tokenizer.ggml.token_type")) v.token_types = std::move(*types);
  if (const auto merges = file.find_strings("tokenizer.ggml.merges")) v.merges = copy(*merges);
  v.bos_id = file.find_int("tokenizer.ggml.bos_token_id");
  v.eos_id = file.find_int("tokenizer.ggml.eos_token_id");
  v.eot_id = file.find_int("tokenizer.ggml.eot_token_id");
  v.eom_id = file.find_int("tokenizer.ggml.eom_token_id");
  v.unknown_id = file.find_int("tokenizer.ggml.unknown_token_id");
  v.padding_id = file.find_int("tokenizer.ggml.padding_token_id");
  const bool sentencepiece = v.kind == VocabularyKind::sentencepiece;
  v.add_bos = file.find_bool("tokenizer.ggml.add_bos_token").value_or(sentencepiece);
  v.add_eos = file.find_bool("tokenizer.ggml.add_eos_token").value_or(false);
  v.add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix").value_or(sentencepiece);
  return v;
}

/// What the makers recommend; a value out of range is left out with a warning.
void read_generation_config(const std::string& folder, int64_t vocab, TextModel& text, std::set<TokenId>& end_tokens) {
  const std::string path = folder + "/generation_config.json";
  if (!std::filesystem::exists(path)) return;
  const JsonObject config = read_json_file(path);
  SamplingParams params;
  const bool samples = config.find_bool("do_sample").value_or(false);
  if (samples) {
    if (const auto value = config.find_float("temperature")) params.temperature = static_cast<float>(*value);
    if (const auto value = config.find_float("top_p")) params.top_p = static_cast<float>(*value);
    if (const auto value = config.find_int("top_k"))
      params.top_k = static_cast<int>(std::clamp<int64_t>(*value, -1, vocab));
  }
  if (const auto value = config.find_float("repetition_penalty"))
    params.repetition_penalty = static_cast<float>(*value);
  if (const auto error = validate(params, vocab)) {
    text.warnings.push_back(path + ": " + error->message + "; the file's sampling defaults are not used");
  } else {
    text.default_sampling = params;
  }
  const auto ids = config.find_ints("eos_token_id");
  for (const int64_t id : ids.value_or(std::vector<int64_t>())) {
    if (id < 0 || id >= vocab)
      throw Error(Part::text, path + ": eos_token_id " + std::to_string(id) + " is not in the vocabulary");
    end_tokens.insert(static_cast<TokenId>(id));
  }
}

}  // namespace

TextModel read_text_model(const OpenModel& model, const std::string& chat_template) {
  TextModel text;
  std::string source;
  std::set<TokenId> end_tokens;
  const int64_t vocab = model.files.spec.vocab;
  if (model.gguf) {
    text.tokenizer = make_tokenizer(vocabulary_from_gguf(*model.gguf));
    source = model.gguf->find_string("tokenizer.chat_template").value_or("");
  } else {
    const std::string& folder = model.path.path;
    const std::string config_path = folder + "/tokenizer_config.json";
    const std::string config =
        std::filesystem::exists(config_path) ? read_text_file(config_path, kMaxJsonBytes) : std::string();
    text.tokenizer = read_tokenizer_json(read_text_file(folder + "/tokenizer.json", kMaxTokenizerBytes), config);
    const auto templates = read_tokenizer_config(config).chat_templates;
    if (const auto found = templates.find("default"); found != templates.end()) source = found->second;
    const std::string jinja = folder + "/chat_template.jinja";
    if (source.empty() && std::filesystem::exists(jinja)) source = read_text_file(jinja, kMaxTemplateBytes);
    read_generation_config(folder, vocab, text, end_tokens);
  }
  if (!chat_template.empty()) {
    text.chat_template = std::make_shared<const ChatTemplate>(ChatTemplate::file_or_built_in(chat_template));
  } else if (!source.empty()) {
    text.chat_template = std::make_shared<const ChatTemplate>(ChatTemplate::parse(source));
  }
  for (const Mismatch& mismatch : check_text_fits(*text.tokenizer, vocab, text.chat_template.get())) {
    if (mismatch.severity == Mismatch::Severity::error) throw Error(Part::text, model.path.path + ": " + mismatch.text);
    text.warnings.push_back(model.path.path + ": " + mismatch.text);
  }
  const auto spelling = [&](std::optional<TokenId> id) {
    return id ? std::string(text.tokenizer->token_bytes(*id)) : std::string();
  };
  text.bos_text = spelling(text.tokenizer->bos_id());
  text.eos_text = spelling(text.tokenizer->eos_id());
  for (const TokenId id : text.tokenizer->end_of_generation_ids()) end_tokens.insert(id);
  text.end_tokens.assign(end_tokens.begin(), end_tokens.end());
  return text;
}

}  // namespace echelon
