// The answer to POST /v1/messages: one message, whole or as Anthropic's events. Pure; one thread at a time.
#pragma once

#include <string>
#include <string_view>

#include "frontend/openai/answer.h"

namespace echelon {

class MessagesAnswer final : public Answer {
 public:
  using Answer::Answer;

  std::string closing_events() override;
  std::string error_events(const RequestError& error) override;
  boost::json::object body() override;

 private:
  std::string piece_events(size_t index, ChoicePiece piece) override;
  std::string_view call_id_prefix() const override { return "toolu_"; }
  boost::json::object message(boost::json::array content, const ChoicePiece* end) const;
  std::string begin_block(std::string_view type, boost::json::object block);
  std::string end_block();
  std::string delta(std::string_view type, std::string_view member, std::string_view text);

  int num_blocks_ = 0;           ///< that have ended
  std::string_view open_block_;  ///< its type, a literal; empty: none
};

}  // namespace echelon
