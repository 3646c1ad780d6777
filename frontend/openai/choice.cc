// Tokens pass the decoder (whole characters), then the stop checker (nothing behind a stop string), then the piece.
// Log-probabilities and ids are collected per token and leave with the next piece.
#include "frontend/openai/choice.h"

#include <algorithm>
#include <utility>

#include "engine/text/utf8.h"
#include "kernels/base/check.h"

namespace echelon {

namespace json = boost::json;

namespace {

void append_array(json::array& to, json::array&& from) {
  for (auto& value : from) to.push_back(std::move(value));
}

StreamDecoderOptions decoder_options(const GenerationParams& params, const Tokenizer& tokenizer) {
  StreamDecoderOptions options{.skip_special_tokens = params.skip_special_tokens};
  if (params.parts == nullptr) return options;
  for (const std::string_view text : params.parts->controls()) {
    if (const auto id = tokenizer.id_of(text)) options.shown.push_back(*id);
  }
  return options;
}

}  // namespace

void ChoicePiece::append(ChoicePiece next) {
  text += next.text;
  reasoning += next.reasoning;
  for (ToolCallDelta& delta : next.calls) {
    if (!calls.empty() && calls.back().index == delta.index) {
      calls.back().arguments += delta.arguments;
    } else {
      calls.push_back(std::move(delta));
    }
  }
  append_array(token_ids, std::move(next.token_ids));
  if (next.finish) finish = next.finish;
  if (!next.stop_reason.is_null()) stop_reason = std::move(next.stop_reason);
  if (next.logprobs.is_null()) return;
  if (logprobs.is_null()) {
    logprobs = std::move(next.logprobs);
    return;
  }
  for (auto& member : next.logprobs.as_object()) {
    if (member.value().is_array())
      append_array(logprobs.as_object().at(member.key()).as_array(), std::move(member.value().get_array()));
  }
}

Choice::Choice(Shape shape, const GenerationParams& params, const Tokenizer& tokenizer)
    : shape_(shape),
      params_(params),
      tokenizer_(tokenizer),
      decoder_(tokenizer, decoder_options(params, tokenizer)),
      stops_({.strings = params.stop, .include_in_output = params.include_stop}) {
  if (params.parts != nullptr) parser_.emplace(params.parts);
}

void Choice::append(std::string text) {
  if (parser_) {
    parser_->feed(text, piece_);
    if (!params_.include_reasoning) piece_.reasoning.clear();
  } else {
    piece_.text += text;
  }
}

void Choice::echo(std::string_view text, std::span<const TokenId> tokens, std::span<const TokenLogprob> logprobs,
                  size_t num_added) {
  append(std::string(text));
  const int num_top = params_.sampling.num_logprobs;
  if (num_top >= 0 && params_.shows_logprobs) {
    StreamDecoder prompt_decoder(tokenizer_, {.skip_special_tokens = false, .at_text_start = true});
    int64_t offset = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::optional<TokenLogprob> entry;
      if (i > 0 && i - 1 < logprobs.size()) entry = logprobs[i - 1];
      completion_logprobs_.add(tokens[i], entry, num_top, offset, tokenizer_);
      const auto length = static_cast<int64_t>(count_code_points(prompt_decoder.feed(tokens[i])));
      if (i >= num_added) offset += length;
    }
  }
  num_decoded_characters_ = static_cast<int64_t>(count_code_points(text));
}

Choice::Step Choice::add(const OutputToken& token) {
  ECHELON_CHECK(!finished_);
  ++num_tokens_;
  if (parser_ && parser_->in_reasoning()) ++num_reasoning_tokens_;
  if (params_.return_token_ids) piece_.token_ids.emplace_back(token.token);
  const int num_top = params_.sampling.num_logprobs;
  if (token.logprob) {
    total_logprob_ += token.logprob->logprob;
    ++num_logprobs_;
  }
  if (num_top >= 0 && params_.shows_logprobs && token.logprob) {
    if (shape_ == Shape::chat) {
      chat_logprobs_.push_back(chat_logprob(*token.logprob, num_top, tokenizer_));
    } else {
      completion_logprobs_.add(token.token, token.logprob, num_top, num_decoded_characters_, tokenizer_);
    }
  }
  const std::string text = decoder_.feed(token.token);
  num_decoded_characters_ += static_cast<int64_t>(count_code_points(text));
  if (num_tokens_ <= params_.sampling.min_tokens) {
    append(stops_.pass(text));
    return Step::go_on;
  }
  StopChecker::Output output = stops_.feed(text);
  append(std::move(output.text));
  if (!output.stopped) return Step::go_on;
  end(FinishReason::stop, json::value(output.stop_string));
  return Step::stop_string_found;
}

void Choice::add_hidden(const OutputToken& token) {
  ++num_tokens_;
  if (params_.return_token_ids) piece_.token_ids.emplace_back(token.token);
  const int num_top = params_.sampling.num_logprobs;
  if (shape_ == Shape::completion && num_top >= 0 && params_.shows_logprobs && token.logprob)
    completion_logprobs_.add(token.token, token.logprob, num_top, num_decoded_characters_, tokenizer_);
}

void Choice::finish(FinishReason reason, std::optional<TokenId> stop_token) {
  ECHELON_CHECK(!finished_);
  StopChecker::Output output = stops_.feed(decoder_.flush());
  append(std::move(output.text));
  if (!output.stopped) append(stops_.flush());
  json::value stop_reason;
  const auto& stop_ids = params_.sampling.stop_token_ids;
  if (stop_token && std::find(stop_ids.begin(), stop_ids.end(), *stop_token) != stop_ids.end())
    stop_reason = *stop_token;
  end(reason, std::move(stop_reason));
}

void Choice::end(FinishReason reason, json::value stop_reason) {
  finished_ = true;
  if (parser_) parser_->finish(piece_);
  piece_.finish = reason;
  piece_.stop_reason = std::move(stop_reason);
}

ChoicePiece Choice::take() {
  if (!chat_logprobs_.empty()) {
    piece_.logprobs = json::object{{"content", std::exchange(chat_logprobs_, {})}, {"refusal", nullptr}};
  } else if (!completion_logprobs_.empty()) {
    piece_.logprobs = completion_logprobs_.take();
  }
  return std::exchange(piece_, {});
}

}  // namespace echelon
