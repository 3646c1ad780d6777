// Any bytes as text: into tokens and back, as one and as a stream, with stop strings. A target for each tokenizer: a
// thread that changes it forgets 4 MiB of words.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/stream_decoder.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {

/// What a stream gives of the tokens.
inline std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens) {
  StreamDecoder decoder(tokenizer, {.skip_special_tokens = false});
  std::string text;
  for (const TokenId token : tokens) text += decoder.feed(token);
  return text + decoder.flush();
}

/// What passes a checker when the text comes in pieces of `size`.
inline std::string stopped(std::string_view text, const StopStrings& stops, size_t size) {
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

/// keeps_bytes: the tokens' bytes are the text's.
inline void run_text(const Tokenizer& tokenizer, bool keeps_bytes, std::string_view input) {
  Pieces pieces(input);
  const unsigned choice = pieces.byte();
  const size_t size = 1 + pieces.byte() % 16;
  StopStrings stops{.strings = {}, .include_in_output = (choice & 64) != 0};
  for (unsigned i = 0; i < choice % 4; ++i) stops.strings.emplace_back(pieces.take(1 + pieces.byte() % 4));
  const std::string_view text = pieces.rest();

  const auto tokens = tokenizer.encode(text);
  std::string bytes;
  for (const TokenId token : tokens) bytes += tokenizer.token_bytes(token);
  if (keeps_bytes) expect(bytes == text, "tokens that are another text");
  const std::string decoded = tokenizer.decode(tokens, {.skip_special = false, .at_text_start = false});
  expect(streamed(tokenizer, tokens) == decoded, "a stream that is another text");
  tokenizer.encode(text, {.parse_special = true, .add_special = true});
  expect(stopped(decoded, stops, size) == stopped(decoded, stops, decoded.size() + 1),
         "what stops depends on how the text is cut");
}

inline std::vector<std::string> text_seeds() {
  return {bytes_of_literal("\x00\x00Hello world, it's 1234 <|im_end|>\n\n  x"),
          bytes_of_literal("\x00\x03 a b ab \xc3\xa9\xe4\xb8\xad<mark>"),
          bytes_of_literal("\x41\x02\x01xe\xcc\x81\xf0\x9f\x98\x80 DON'T  12\r\n"),
          bytes_of_literal("\x03\x01\x01"
                           "ab\x01"
                           "bc\x01"
                           "caabcabc\xff\xfe")};
}

inline std::vector<std::string_view> text_words() {
  return {"<|im_end|>",   "<|im_start|>",
          "<s>",          "</s>",
          "<mark>",       "\xe2\x96\x81",
          "\xc3\xa9",     "e\xcc\x81",
          "\xe2\x80\x8d", "\xf0\x9f\x98\x80",
          "\xed\xa0\x80", "\xef\xbf\xbd",
          "'ll",          "\r\n",
          "  ",           "\xc2\xa0",
          "\xea\xb0\x80", "\xe1\x84\x80\xe1\x85\xa1"};
}

}  // namespace echelon::fuzzing
