// How far a client has come in a stream: what the `id` of a server-sent event says, and Last-Event-ID brings back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

/// Counts of events, because choices may be told in another order the second time: those that a stream begins with,
/// those of each choice, those that it ends with. The ones of a choice follow from its tokens alone.
class EventPosition {
 public:
  /// Before the first event.
  explicit EventPosition(size_t num_choices) : counts_(num_choices + 2) {}
  /// What text() wrote; nothing when it is something else, or of another number of choices.
  static std::optional<EventPosition> parse(std::string_view text, size_t num_choices);
  /// "2.17.0"
  std::string text() const;

  size_t opening() const { return 0; }
  size_t choice(size_t index) const { return index + 1; }
  size_t closing() const { return counts_.size() - 1; }
  uint32_t& operator[](size_t lane) { return counts_[lane]; }
  uint32_t operator[](size_t lane) const { return counts_[lane]; }

 private:
  std::vector<uint32_t> counts_;
};

/// "ID/POSITION", as it stands in an event.
struct EventId {
  std::string_view stream, position;
  /// Nothing when it is no such text.
  static std::optional<EventId> parse(std::string_view text);
};

}  // namespace echelon
