// Text through SentencePiece.
#include <algorithm>
#include <cstdio>

#include "tests/fuzzing/text_walk.h"

namespace echelon::fuzzing {
namespace {

std::unique_ptr<Tokenizer> sentencepiece() {
  Vocabulary vocabulary{.kind = VocabularyKind::sentencepiece, .tokens = {"<unk>", "<s>", "</s>"}};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(byte));
    vocabulary.tokens.emplace_back(text);
  }
  for (const char* piece : {"▁", "a", "b", "ab", "▁a", "é", "中", "<mark>", "▁▁"})
    vocabulary.tokens.emplace_back(piece);
  vocabulary.token_types.assign(vocabulary.tokens.size(), 1);
  vocabulary.token_types[0] = 2;
  vocabulary.token_types[1] = vocabulary.token_types[2] = 3;
  std::fill_n(vocabulary.token_types.begin() + 3, 256, 6);
  vocabulary.token_types[vocabulary.tokens.size() - 2] = 4;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) vocabulary.scores.push_back(-static_cast<float>(i % 7));
  vocabulary.bos_id = 1;
  vocabulary.eos_id = 2;
  vocabulary.unknown_id = 0;
  vocabulary.add_bos = vocabulary.add_space_prefix = true;
  return make_tokenizer(std::move(vocabulary));
}

void run(std::string_view input) {
  static const std::unique_ptr<Tokenizer> tokenizer = sentencepiece();
  run_text(*tokenizer, false, input);
}

const Target target("text_pieces", run, text_seeds, text_words());

}  // namespace
}  // namespace echelon::fuzzing
