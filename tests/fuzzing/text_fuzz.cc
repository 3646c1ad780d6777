// Any bytes as text: into tokens and back, as one and as a stream, with stop strings.
#include <algorithm>
#include <array>

#include "engine/text/stream_decoder.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"
#include "tests/frontend/small_model.h"
#include "tests/fuzzing/target.h"

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

std::unique_ptr<Tokenizer> byte_level(const char* splitter) {
  Vocabulary vocabulary = testing::small_vocabulary(true);
  vocabulary.pre_tokenizer = splitter;
  return make_tokenizer(std::move(vocabulary));
}

/// What a stream gives of the tokens.
std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens) {
  StreamDecoder decoder(tokenizer, {.skip_special_tokens = false});
  std::string text;
  for (const TokenId token : tokens) text += decoder.feed(token);
  return text + decoder.flush();
}

/// What passes a checker when the text comes in pieces of `size`.
std::string stopped(std::string_view text, const StopStrings& stops, size_t size) {
  StopChecker checker(stops);
  std::string passed;
  while (!text.empty()) {
    const auto out = checker.feed(text.substr(0, size));
    passed += out.text;
    if (out.stopped) return passed + "|" + out.stop_string;
    text.remove_prefix(std::min(size, text.size()));
  }
  return passed + checker.flush();
}

void run(std::string_view input) {
  static const std::array<std::unique_ptr<Tokenizer>, 5> tokenizers = {
      byte_level("gpt-2"), byte_level("llama-bpe"), byte_level("qwen2"), byte_level("smollm"), sentencepiece()};
  Pieces pieces(input);
  const unsigned choice = pieces.byte();
  const size_t size = 1 + pieces.byte() % 16;
  StopStrings stops{.include_in_output = (choice & 64) != 0};
  for (unsigned i = 0; i < (choice >> 3) % 4; ++i) stops.strings.emplace_back(pieces.take(1 + pieces.byte() % 4));
  const std::string_view text = pieces.rest();
  const Tokenizer& tokenizer = *tokenizers[choice % tokenizers.size()];

  const auto tokens = tokenizer.encode(text);
  std::string bytes;
  for (const TokenId token : tokens) bytes += tokenizer.token_bytes(token);
  const bool has_prefix = tokenizer.adds_leading_space();
  if (!has_prefix && choice % tokenizers.size() != 2) expect(bytes == text, "tokens that are another text");
  const std::string decoded = tokenizer.decode(tokens, {.skip_special = false, .at_text_start = false});
  expect(streamed(tokenizer, tokens) == decoded, "a stream that is another text");
  tokenizer.encode(text, {.parse_special = true, .add_special = true});
  expect(stopped(decoded, stops, size) == stopped(decoded, stops, decoded.size() + 1),
         "what stops depends on how the text is cut");
}

std::vector<std::string> seeds() {
  return {std::string("\x00\x00Hello world, it's 1234 <|im_end|>\n\n  x", 41),
          std::string("\x04\x03 a b ab \xc3\xa9\xe4\xb8\xad<mark>", 24),
          std::string("\x0a\x02\x01xe\xcc\x81\xf0\x9f\x98\x80 DON'T  12\r\n", 23),
          std::string("\x19\x01\x01"
                      "ab\x01"
                      "bcabcabc\xff\xfe",
                      15)};
}

const Target target("text", run, seeds,
                    {"<|im_end|>", "<|im_start|>", "<s>", "</s>", "<mark>", "\xe2\x96\x81", "\xc3\xa9", "e\xcc\x81",
                     "\xe2\x80\x8d", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\xef\xbf\xbd", "'ll", "\r\n", "  ",
                     "\xc2\xa0", "\xea\xb0\x80", "\xe1\x84\x80\xe1\x85\xa1"});

}  // namespace
}  // namespace echelon::fuzzing
