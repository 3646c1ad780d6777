// One stream with numbered events, which the journal keeps: what a client gets of it, and gets of it again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/journal/event_position.h"
#include "frontend/journal/journal.h"
#include "frontend/openai/answer.h"

namespace echelon {

/// On the session's strand. It may run before it is written: what is noted meanwhile waits. The answer has to be the
/// one that the stream was begun with, and gets all of its tokens, those of `stored` first; what the client has seen is
/// left out here.
class ResumableStream {
 public:
  /// `journal` must outlive this.
  ResumableStream(Journal& journal, StoredStream stored, EventPosition seen, const AnswerSetup& setup);

  /// Without a number it is not in the journal yet. Meanwhile another thread may read it.
  const StoredStream& stored() const { return stored_; }
  /// What Journal::begin() gave. Nothing: the stream goes on without being kept, and its events without ids.
  void set_number(std::optional<int64_t> number);
  /// Of the engine, for a prompt's choice; before the answer takes it.
  void note(size_t choice, const OutputEvent& event);

  /// Those that the client has not seen, with their ids.
  std::string opening(std::string_view events) { return numbered(events, seen_.opening()); }
  std::string pieces(const Answer::Effects& effects);
  std::string closing(std::string_view events) { return numbered(events, seen_.closing()); }

 private:
  std::string numbered(std::string_view events, size_t lane);

  Journal& journal_;
  StoredStream stored_;
  bool is_kept_ = true;
  std::vector<std::pair<size_t, OutputEvent>> early_;  ///< before it was written
  EventPosition seen_;                                 ///< by the client, when it has what is written
  const bool keeps_tokens_;
  EventPosition num_events_;        ///< of the answer, so far
  std::vector<size_t> num_tokens_;  ///< in the journal, by prompt x n + choice
};

/// Tokens alone are enough to go on from: there are no log-probabilities with them, and the context does not slide.
bool can_continue(const GenerationParams& params);

/// Choices of the whole answer, which may be fewer than the engine's, of parts of prompts.
size_t num_choices(const AnswerSetup& setup);

/// To be kept: all but its number and its tokens.
StoredStream stream_to_store(const AnswerSetup& setup, std::string_view path, std::string body);

}  // namespace echelon
