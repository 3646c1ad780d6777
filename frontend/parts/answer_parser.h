// Cuts the text of an answer into its parts as it comes: reasoning, text, calls of tools. Pure; one object per choice,
// one thread at a time.
//
// An answer with calls is sampled under a grammar, so calls are written exactly as their syntax has them; what is not
// (an answer that was cut in the middle of a name) is given as text: nothing is lost.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/parts/answer_parts.h"

namespace echelon {

/// What is new of a call. The first one of a call has its name.
struct ToolCallDelta {
  int index = 0;     ///< of the answer's calls
  std::string id;    ///< with the name; the answer's to give
  std::string name;  ///< else empty
  std::string arguments;
};

struct PartsPiece {
  std::string reasoning, text;
  std::vector<ToolCallDelta> calls;
};

class AnswerParser {
 public:
  explicit AnswerParser(std::shared_ptr<const AnswerParts> parts);

  /// Adds to `piece`. What may be the beginning of another part is held back, and so are blanks at a part's end.
  void feed(std::string_view text, PartsPiece& piece);
  /// The answer's end: what was held back.
  void finish(PartsPiece& piece);

  int num_calls() const { return num_calls_; }
  bool in_reasoning() const { return state_ == State::reasoning; }

 private:
  enum class State {
    opening,     ///< reasoning may begin
    reasoning,   ///<
    beginning,   ///< the text's, which may be a call without trigger
    text,        ///<
    call_begin,  ///< a trigger has come
    arguments,   ///<
    call_end,    ///< the arguments have ended
    only_text,   ///< whatever comes
  };
  using Begins = std::vector<std::pair<std::string, size_t>>;

  bool step(PartsPiece& piece);
  bool open();
  bool take_until(std::string_view mark, std::string& out);
  bool take_reasoning(PartsPiece& piece);
  bool begin_text();
  bool take_text(PartsPiece& piece);
  bool begin_call(const Begins& begins, PartsPiece& piece);
  bool take_arguments(PartsPiece& piece);
  bool end_call(PartsPiece& piece);
  void add(std::string_view text, std::string& out);
  void start_call(size_t tool, PartsPiece& piece);

  const std::shared_ptr<const AnswerParts> parts_;
  Begins first_begins_, next_begins_;
  State state_;
  std::string held_;    ///< not yet cut
  std::string blanks_;  ///< at the end of what has been given of the part
  bool part_empty_ = true;
  int num_calls_ = 0;
  int depth_ = 0;  ///< of the arguments
  bool in_string_ = false, escaped_ = false;
};

}  // namespace echelon
