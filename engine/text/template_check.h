// Does a tokenizer fit the weights, and a chat template the tokenizer? Asked once, at start.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace echelon {

struct Mismatch {
  enum class Severity {
    error,    ///< the model cannot be served: tokens without an embedding
    warning,  ///< it can, but answers may be wrong
  };
  Severity severity;
  std::string text;  ///< names what does not match, and both sides of it
};

/// `num_embedding_rows` is the first dimension of the token embedding table. More rows than tokens are usual (padding).
/// `chat_template` may be null. An empty list: everything fits.
std::vector<Mismatch> check_text_fits(const Tokenizer& tokenizer, int64_t num_embedding_rows,
                                      const ChatTemplate* chat_template);

/// The texts like <|im_start|>, <start_of_turn> or [INST] that a template writes as literals; without repetition, in
/// order.
std::vector<std::string> find_markers(std::string_view template_source);

}  // namespace echelon
