// The answer to POST /v1/responses: one response with one message of text, whole or as OpenAI's numbered events. Pure;
// one thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "frontend/openai/answer.h"

namespace echelon {

inline constexpr std::string_view kResponseIdPrefix = "resp_";

class ResponsesAnswer final : public Answer {
 public:
  using Answer::Answer;

  std::string opening_events() override;
  std::string closing_events() override;
  std::string error_events(const RequestError& error) override;
  boost::json::object body() override;

 private:
  std::string piece_events(size_t index, ChoicePiece piece) override;
  std::string event(std::string_view type, boost::json::object members);
  /// Of the one part of the one message.
  std::string part_event(std::string_view type, boost::json::object members);
  std::string message_id() const;
  boost::json::object message(std::string_view status, boost::json::array content) const;
  boost::json::object usage() const;
  /// `error`: when the status is failed.
  boost::json::object response(std::string_view status, const RequestError* error);
  /// Completed, or incomplete.
  std::string_view end_status();

  int64_t num_events_ = 0;  ///< so many have been written
};

}  // namespace echelon
