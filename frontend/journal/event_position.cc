#include "frontend/journal/event_position.h"

#include <charconv>

namespace echelon {

std::optional<EventPosition> EventPosition::parse(std::string_view text, size_t num_choices) {
  EventPosition position(num_choices);
  const char* at = text.data();
  const char* const end = at + text.size();
  for (size_t lane = 0; lane < position.counts_.size(); ++lane) {
    if (lane > 0 && (at == end || *at++ != '.')) return std::nullopt;
    const auto [after, error] = std::from_chars(at, end, position.counts_[lane]);
    if (error != std::errc()) return std::nullopt;
    at = after;
  }
  if (at != end) return std::nullopt;
  return position;
}

std::string EventPosition::text() const {
  std::string text;
  for (const uint32_t count : counts_) {
    if (!text.empty()) text += '.';
    text += std::to_string(count);
  }
  return text;
}

std::optional<EventId> EventId::parse(std::string_view text) {
  const size_t slash = text.find('/');  // ids of answers have none
  if (slash == text.npos || slash == 0 || slash + 1 == text.size()) return std::nullopt;
  return EventId{.stream = text.substr(0, slash), .position = text.substr(slash + 1)};
}

}  // namespace echelon
