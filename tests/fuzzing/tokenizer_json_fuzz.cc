// tokenizer.json and tokenizer_config.json (behind a line "--"), and some text through what they make.
#include <boost/json.hpp>

#include "engine/text/tokenizer.h"
#include "kernels/base/error.h"
#include "tests/engine/weights/file_builder.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr std::string_view kText = "Hello  world</s> \xc3\xa9\xe4\xb8\xad 12345's\n\n\t\xff<s>a b";

void run(std::string_view input) {
  Pieces pieces(input);
  const std::string_view json = pieces.until("\n--\n");
  try {
    const auto tokenizer = read_tokenizer_json(json, pieces.rest());
    for (const bool parse_special : {false, true}) {
      const auto tokens = tokenizer->encode(kText, {.parse_special = parse_special, .add_special = parse_special});
      for (const TokenId token : tokens)
        expect(token >= 0 && token < tokenizer->vocabulary_size(), "a token outside of the vocabulary");
      tokenizer->decode(tokens);
      tokenizer->decode(tokens, {.skip_special = false, .at_text_start = false});
    }
  } catch (const Error&) {
  }
}

/// Those of the oracle's that are small.
std::vector<std::string> seeds() {
  constexpr size_t kSmall = 4096;
  std::vector<std::string> all = {
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "</s>": 3}, "merges": [["a", "b"]]}, )"
      R"("pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}, )"
      R"("decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 3, "content": "</s>", "special": true}]})"
      "\n--\n"
      R"({"eos_token": "</s>", "add_bos_token": false, "chat_template": [{"name": "default", "template": "x"}]})",
      R"({"model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": true, "fuse_unk": true, "vocab": {"<unk>": 0, )"
      R"("<s>": 1, "<0x61>": 2, "▁": 3, "H": 4, "e": 5, "He": 6}, "merges": ["H e"]}, "normalizer": {"type": "Sequence", )"
      R"("normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}, )"
      R"("decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, )"
      R"({"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})"
      "\n--\n",
      R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "NFC"}, "pre_tokenizer": )"
      R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|\\p{N}{1,3}|\\s+"}, )"
      R"("behavior": "Isolated", "invert": false}, {"type": "Digits", "individual_digits": true}, )"
      R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}, "decoder": {"type": "ByteLevel"}})"};
  const auto golden =
      boost::json::parse(testing::read_all(std::string(ECHELON_SOURCE_DIR) + "/tests/golden/tokenizer-hf.json"));
  for (const auto& entry : golden.at("tokenizers").as_array()) {
    std::string text = boost::json::serialize(entry.at("tokenizer"));
    if (text.size() <= kSmall) all.push_back(std::move(text));
  }
  return all;
}

const Target target("tokenizer_json", run, seeds,
                    {"\n--\n",
                     "\"Split\"",
                     "\"Regex\"",
                     "\"String\"",
                     "\"Isolated\"",
                     "\"Removed\"",
                     "\"MergedWithPrevious\"",
                     "\"Metaspace\"",
                     "\"ByteLevel\"",
                     "\"Digits\"",
                     "\"Replace\"",
                     "\"Prepend\"",
                     "\"NFC\"",
                     "\"NFKC\"",
                     "\"Sequence\"",
                     "\"Strip\"",
                     "\"Lowercase\"",
                     "\"post_processor\"",
                     "\"TemplateProcessing\"",
                     "\"added_tokens\"",
                     "\"single_word\"",
                     "\"lstrip\"",
                     "\"normalized\"",
                     "\"ignore_merges\"",
                     "\"byte_fallback\"",
                     "\"fuse_unk\"",
                     "null",
                     "true",
                     "\\\\p{L}",
                     "(?!\\\\S)",
                     "(?<=a)",
                     "-1",
                     "2147483648",
                     "[]",
                     "{}"});

}  // namespace
}  // namespace echelon::fuzzing
