// The text side of a model: tokenizer, chat template, special tokens and the defaults its makers recommend. Read by
// rank 0, which sends the tokens that end a generation to the others.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/model/open_model.h"
#include "engine/sampling_params.h"

namespace echelon {

class Tokenizer;
class ChatTemplate;

struct TextModel {
  std::shared_ptr<const Tokenizer> tokenizer;         ///< owners: this and ModelInfo
  std::shared_ptr<const ChatTemplate> chat_template;  ///< null: none
  std::string bos_text, eos_text;
  SamplingParams default_sampling;
  std::vector<TokenId> end_tokens;    ///< ascending
  std::vector<std::string> warnings;  ///< about what does not match, for the log
};

/// chat_template, a file or a built-in name, replaces the model's own template when not empty. Throws Error for a
/// tokenizer or template that cannot belong to the weights.
TextModel read_text_model(const OpenModel& model, const std::string& chat_template = {});

}  // namespace echelon
