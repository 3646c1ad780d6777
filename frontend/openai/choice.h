// One choice of an answer: turns its tokens into text, stops at stop strings, and collects what goes into its next
// chunk. Pure; one object per choice, one thread at a time.
#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "engine/text/stream_decoder.h"
#include "frontend/openai/generation_params.h"
#include "frontend/openai/logprobs.h"
#include "frontend/parts/answer_parser.h"

namespace echelon {

/// What a choice has gathered since it was last taken.
struct ChoicePiece : PartsPiece {
  boost::json::array token_ids;  ///< when the request asked for them
  boost::json::value logprobs;   ///< null when there are none
  std::optional<FinishReason> finish;
  boost::json::value stop_reason;  ///< the stop string or stop token id, as vLLM gives it
  /// Something that a client sees.
  bool has_output() const { return !text.empty() || !reasoning.empty() || !calls.empty(); }
  /// Grows by the next piece: texts, calls, ids and log-probabilities follow each other.
  void append(ChoicePiece next);
};

class Choice {
 public:
  enum class Shape { chat, completion };

  /// `params` and `tokenizer` must outlive the choice.
  Choice(Shape shape, const GenerationParams& params, const Tokenizer& tokenizer);

  /// A prompt that the answer repeats (echo): its text, its tokens, and the log-probabilities of all but the first.
  /// `num_added`: leading tokens that are not in the text (BOS).
  void echo(std::string_view text, std::span<const TokenId> tokens, std::span<const TokenLogprob> logprobs,
            size_t num_added);

  enum class Step { go_on, stop_string_found };
  /// A token that is shown.
  Step add(const OutputToken& token);
  /// The token that ended the choice: counted, but not shown as text; a completion lists its log-probability.
  void add_hidden(const OutputToken& token);
  /// The engine has ended the choice: held-back text is released.
  void finish(FinishReason reason, std::optional<TokenId> stop_token);

  bool finished() const { return finished_; }
  bool has_output() const { return piece_.has_output(); }
  bool has_calls() const { return parser_ && parser_->num_calls() > 0; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_reasoning_tokens() const { return num_reasoning_tokens_; }
  /// Of the tokens shown, where they came with log-probabilities.
  double mean_logprob() const { return num_logprobs_ > 0 ? total_logprob_ / static_cast<double>(num_logprobs_) : 0; }
  ChoicePiece take();

 private:
  void append(std::string text);
  void end(FinishReason reason, boost::json::value stop_reason);

  Shape shape_;
  const GenerationParams& params_;
  const Tokenizer& tokenizer_;
  StreamDecoder decoder_;
  StopChecker stops_;
  std::optional<AnswerParser> parser_;  ///< when the answer may have several parts
  ChoicePiece piece_;
  boost::json::array chat_logprobs_;
  CompletionLogprobs completion_logprobs_;
  double total_logprob_ = 0;
  int64_t num_logprobs_ = 0;  ///< tokens that came with one
  int64_t num_tokens_ = 0;
  int64_t num_reasoning_tokens_ = 0;    ///< with the one that ends it
  int64_t num_decoded_characters_ = 0;  ///< of the text, held-back text included: where the next token's text begins
  bool finished_ = false;
};

}  // namespace echelon
