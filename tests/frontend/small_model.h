// A model small enough to reason about: 256 byte tokens, a few merged ones, chat markers and an end token.
// The vocabulary is built here and run by the real tokenizer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/grammar/grammar.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace echelon::testing {

/// GPT-2's alphabet: every byte as one printable character.
inline std::string byte_spelling(int byte) {
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  int code = byte;
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  std::string text;
  append_utf8(text, static_cast<char32_t>(code));
  return text;
}

inline constexpr TokenId kEndToken = 260, kStartMarker = 261, kBosToken = 262;
inline constexpr int kSmallVocab = 263;
inline constexpr int kSmallContext = 4096;
inline constexpr int kSmallHidden = 8;

inline Vocabulary small_vocabulary(bool add_bos = false) {
  Vocabulary vocabulary;
  vocabulary.kind = VocabularyKind::byte_level_bpe;
  vocabulary.pre_tokenizer = "gpt-2";
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.push_back(byte_spelling(byte));
  const std::string space = byte_spelling(' ');
  for (const auto& merged : {std::string("he"), std::string("ll"), space + "w", space + "wo"})
    vocabulary.tokens.push_back(merged);
  vocabulary.merges = {"h e", "l l", space + " w", space + "w o"};
  for (const auto* marker : {"<|im_end|>", "<|im_start|>", "<s>"}) vocabulary.tokens.emplace_back(marker);
  vocabulary.token_types.assign(vocabulary.tokens.size(), static_cast<int32_t>(TokenType::normal));
  for (const TokenId id : {kEndToken, kStartMarker, kBosToken})
    vocabulary.token_types[static_cast<size_t>(id)] = static_cast<int32_t>(TokenType::control);
  vocabulary.eos_id = kEndToken;
  vocabulary.bos_id = kBosToken;
  vocabulary.add_bos = add_bos;
  return vocabulary;
}

inline constexpr std::string_view kSmallTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' "
    "}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

inline std::shared_ptr<const ModelInfo> small_model(bool add_bos = false) {
  auto model = std::make_shared<ModelInfo>();
  model->name = "small";
  model->root = "/models/small.gguf";
  model->family = "llama";
  model->fingerprint = "fp_small";
  model->created_unix_s = 1700000000;
  model->max_model_len = kSmallContext;
  model->vocab_size = kSmallVocab;
  model->hidden_size = kSmallHidden;
  model->tokenizer = make_tokenizer(small_vocabulary(add_bos));
  model->chat_template = std::make_shared<const ChatTemplate>(ChatTemplate::parse(kSmallTemplate));
  model->bos_text = "<s>";
  model->eos_text = "<|im_end|>";
  model->end_tokens = {kEndToken};
  model->grammars =
      std::make_shared<GrammarCache>(make_grammar_vocabulary(*model->tokenizer, model->end_tokens, kSmallVocab));
  return model;
}

}  // namespace echelon::testing
