// From the tokens of one answer to the text a client sees: whole characters only, and nothing after a stop string.
// A StreamDecoder and a StopChecker belong to one stream each; neither is shared between threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace echelon {

struct StreamDecoderOptions {
  bool skip_special_tokens = true;
  std::vector<TokenId> shown = {};  ///< special tokens that are not skipped
  /// The stream begins a text, so that SentencePiece's added space is removed. An answer continues its prompt: false.
  bool at_text_start = false;
};

/// Tokens in, valid UTF-8 out; the tokens' borders never show.
class StreamDecoder {
 public:
  /// `tokenizer` outlives the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, StreamDecoderOptions options = {});
  /// The text that this token completes; often empty in the middle of a character.
  std::string feed(TokenId token);
  /// The end of the answer: an unfinished character becomes U+FFFD.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  StreamDecoderOptions options_;
  Utf8Decoder utf8_;
  bool strip_space_;
};

struct StopStrings {
  std::vector<std::string> strings;  ///< empty ones are ignored
  bool include_in_output = false;    ///< OpenAI leaves the stop string out, vLLM's include_stop_str_in_output keeps it
};

/// Finds the stop string that ends first (of several that end there, the longest), as if characters came one by one:
/// the result does not depend on how the text is cut into tokens. Cost per byte: the number of stop strings (Knuth,
/// Morris, Pratt 1977).
class StopChecker {
 public:
  explicit StopChecker(StopStrings stops);

  struct Output {
    std::string text;         ///< may be sent
    bool stopped = false;     ///< a stop string is complete; the rest of the input is dropped
    std::string stop_string;  ///< which one
  };
  /// Holds back text that could be the beginning of a stop string. After `stopped`, nothing comes out any more.
  Output feed(std::string_view text);
  /// Text that may not hold a stop string (min_tokens): passes whole, with what was held back. A match cannot begin in
  /// it.
  std::string pass(std::string_view text);
  /// The end of the answer: what was held back.
  std::string flush();

 private:
  struct Automaton {
    std::string text;
    std::vector<uint32_t> failure;  ///< failure[i]: length of the longest border of the first i + 1 bytes
    uint32_t matched = 0;
  };
  static void advance(Automaton& automaton, char byte);

  std::vector<Automaton> automata_;
  bool include_in_output_;
  bool stopped_ = false;
  std::string held_;
};

}  // namespace echelon
