// A grammar of a stranger: compiled, and one text followed through it as a sampler would.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/grammar.h"
#include "tests/engine/grammar/reference.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {

/// Bytes, and tokens of several.
inline const std::shared_ptr<const GrammarVocabulary>& walk_vocabulary() {
  static const auto vocabulary = vocabulary_of({"{\"", "\":", "\", \"", "null", "true", "12", "-0.", "e+", "\\u00",
                                                "ab", "abc", "é", "😀", "  ", "]}", "a\xC3", "\xA9z"});
  return vocabulary;
}

/// Every token of the mask may be taken, and no other; `choices` says which one is.
inline void walk(const std::shared_ptr<const Grammar>& grammar, std::string_view choices) {
  constexpr size_t kMaxSteps = 6;
  const GrammarVocabulary& vocabulary = grammar->vocabulary();
  Matcher matcher(grammar);
  TokenMask mask(vocabulary.width());
  for (size_t i = 0; i < std::min(choices.size(), kMaxSteps); ++i) {
    matcher.fill(mask);
    std::vector<TokenId> allowed;
    for (TokenId token = 0; token < vocabulary.all().num_ids(); ++token) {
      if (mask.allows(token) && !vocabulary.is_end(token)) allowed.push_back(token);
    }
    expect(mask.allows(vocabulary.end_tokens()[0]) == matcher.may_end(), "a mask that ends elsewhere than the text");
    expect(allowed.empty() == matcher.must_end(), "a text that nothing may follow, and that does not end");
    if (allowed.empty()) return;
    const auto any = static_cast<TokenId>(static_cast<unsigned char>(choices[i]) * 7 % vocabulary.all().num_ids());
    if (!mask.allows(any)) expect(!Matcher(matcher).advance(any), "a token that the mask forbids may be taken");
    expect(matcher.advance(allowed[static_cast<unsigned char>(choices[i]) % allowed.size()]),
           "a token of the mask may not be taken");
  }
}

/// The source is what stands before the last line "--" of the input, the choices behind it.
inline void run_grammar(GrammarKind kind, std::string_view input) {
  constexpr std::string_view kMark = "\n--\n";
  const size_t cut = input.rfind(kMark);
  const std::string_view choices = cut == input.npos ? "\x05\x30\x01\x77" : input.substr(cut + kMark.size());
  try {
    walk(compile_grammar({.kind = kind, .text = std::string(input.substr(0, cut))}, walk_vocabulary()), choices);
  } catch (const GrammarError&) {
  }
}

}  // namespace echelon::fuzzing
