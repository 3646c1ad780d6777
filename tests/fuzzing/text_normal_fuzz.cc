// Text through byte-level BPE that is normalised first, as Qwen 2 has it.
#include "tests/frontend/small_model.h"
#include "tests/fuzzing/text_walk.h"

namespace echelon::fuzzing {
namespace {

std::unique_ptr<Tokenizer> byte_level() {
  Vocabulary vocabulary = testing::small_vocabulary(true);
  vocabulary.pre_tokenizer = "qwen2";
  return make_tokenizer(std::move(vocabulary));
}

void run(std::string_view input) {
  static const std::unique_ptr<Tokenizer> tokenizer = byte_level();
  run_text(*tokenizer, false, input);
}

const Target target("text_normal", run, text_seeds, text_words());

}  // namespace
}  // namespace echelon::fuzzing
