// The answer to POST /v1/responses: one response with its items, whole or as OpenAI's numbered events. Pure; one thread
// at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/openai/answer.h"
#include "frontend/responses/output_item.h"

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
  /// Of the last item.
  std::string item_event(std::string_view type, boost::json::object members);
  std::string part_event(std::string_view type, boost::json::object members);
  /// The events of what a piece has of an item that goes on, or begins; `call` when it is a call's.
  std::string grow(OutputItem::Kind kind, const std::string& text, const ToolCallDelta* call,
                   boost::json::array logprobs);
  std::string begin_item(OutputItem::Kind kind, const ToolCallDelta* call);
  std::string end_item(std::string_view status);
  /// Adds what is new to items_; returns its events.
  std::string take(const ChoicePiece& piece);
  boost::json::object usage() const;
  /// `error`: when the status is failed.
  boost::json::object response(std::string_view status, const RequestError* error);
  /// Completed, or incomplete.
  std::string_view end_status() const;

  std::vector<OutputItem> items_;  ///< all but the last have ended
  std::optional<FinishReason> finished_;
  int64_t num_events_ = 0;  ///< so many have been written
};

}  // namespace echelon
