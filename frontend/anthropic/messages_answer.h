// The answer to POST /v1/messages: one message of text, whole or as Anthropic's events. Pure; one thread at a time.
#pragma once

#include <string>

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
  boost::json::object message(boost::json::array content, const ChoicePiece* end) const;
};

}  // namespace echelon
