// Text through byte-level BPE, split as Llama 3 has it.
#include "tests/frontend/small_model.h"
#include "tests/fuzzing/text_walk.h"

namespace echelon::fuzzing {
namespace {

std::unique_ptr<Tokenizer> byte_level() {
  Vocabulary vocabulary = testing::small_vocabulary(true);
  vocabulary.pre_tokenizer = "llama-bpe";
  return make_tokenizer(std::move(vocabulary));
}

void run(std::string_view input) {
  static const std::unique_ptr<Tokenizer> tokenizer = byte_level();
  run_text(*tokenizer, true, input);
}

const Target target("text", run, text_seeds, text_words());

}  // namespace
}  // namespace echelon::fuzzing
