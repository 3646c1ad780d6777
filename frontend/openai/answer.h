// The answer to one request: events of the engine in; server-sent events, or one JSON body, out, in OpenAI's shapes or
// a derived class's. Pure: no socket, no engine, no clock. One thread at a time.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/openai/choice.h"

namespace echelon {

struct AnswerPrompt {
  std::vector<TokenId> tokens;
  std::string text;      ///< for echo
  size_t num_added = 0;  ///< leading tokens that are not in the text (BOS)
};

struct VectorUse;

struct AnswerSetup {
  Choice::Shape shape = Choice::Shape::chat;
  std::string id;  ///< "chatcmpl-...", "cmpl-..."
  int64_t created_unix_s = 0;
  std::shared_ptr<const ModelInfo> model;  ///< owners: the engine and answers in the making
  GenerationParams params;                 ///< sampling.seed is the one in use
  std::string tenant;                      ///< empty: the user of params
  std::vector<AnswerPrompt> prompts;
  /// Of every prompt, which whole it is a part of, from 0 on; parts follow each other. Empty: each is a whole.
  std::vector<size_t> whole_of;  ///< a choice's index is whole x n + the engine's choice
  bool echo = false, echo_only = false;
  std::shared_ptr<const VectorUse> vectors;  ///< what the prompts' pooled vectors become (embeddings/); null: text
  boost::json::object repeated;              ///< members that a body of /v1/responses repeats from the request
};

class Answer {
 public:
  explicit Answer(AnswerSetup setup);
  virtual ~Answer() = default;

  /// A choice of the engine.
  struct EngineChoice {
    size_t prompt = 0;
    int choice = 0;
  };
  /// The context is full, and the choice goes on with its newest tokens (LongInput::sliding): a request of one choice,
  /// whose events are to be handed in as the ones of that choice.
  struct NextWindow {
    EngineChoice of;
    std::vector<TokenId> prompt;
    int max_tokens = 0, min_tokens = 0;
    uint64_t seed = 0;
  };
  /// The events of a choice (its index in the answer) up to a byte of Effects::events.
  struct Piece {
    size_t choice = 0, end = 0;
  };
  struct Effects {
    std::string events;         ///< complete server-sent events, when the request streams
    std::vector<Piece> pieces;  ///< whose they are. A choice's follow from its tokens alone, however those come
    std::vector<EngineChoice> stop_choices;  ///< whose stop string was found: Engine::stop_choice
    std::vector<NextWindow> windows;
  };
  /// One event of the engine for one prompt. Events after a choice's end, or after an error, have no effect.
  virtual Effects add(size_t prompt, OutputEvent event);

  struct Counts {
    int64_t prompt = 0, cached = 0, output = 0;  ///< tokens
    int64_t reasoning = 0;                       ///< of output
  };
  /// So far.
  Counts counts() const;
  /// It cannot go on: the engine takes no next window.
  void fail(RequestError error);
  /// Every choice has ended (then `closing_events` or `body` complete the answer), or the engine reported an error.
  bool done() const { return num_open_ == 0 || error_.has_value(); }
  const std::optional<std::string>& error() const { return error_; }  ///< the engine's words: for the log only
  /// When the engine's error is the request's own (its time is over): what the client is told.
  const std::optional<RequestError>& refusal() const { return refusal_; }

  /// What a stream begins with, before the first token.
  virtual std::string opening_events() { return {}; }
  /// The end of a stream: the usage chunk when it was asked for, and [DONE].
  virtual std::string closing_events();
  /// The end of a stream that cannot go on.
  virtual std::string error_events(const RequestError& error);
  /// The body of an answer that is not streamed.
  virtual boost::json::object body();
  const AnswerSetup& setup() const { return setup_; }
  const GenerationParams& params() const { return setup_.params; }

 protected:
  struct PromptState {
    bool logprobs_ready = false;  ///< of the prompt; later choices wait for them
    std::vector<TokenLogprob> logprobs;
    std::vector<OutputEvent> waiting;  ///< at most one per step of the engine until choice 0's first event
    int num_cached_tokens = 0;
  };
  struct ChoiceState {
    std::unique_ptr<Choice> choice;
    bool begun = false;                                 ///< its first event has come (echo is done)
    bool sent = false;                                  ///< its first chunk is written
    ChoicePiece whole;                                  ///< all of it, when not streamed or a derived class keeps it
    size_t part = 0;                                    ///< the prompt that is being answered
    std::vector<std::pair<size_t, OutputEvent>> later;  ///< of the parts behind it
    std::vector<TokenId> window;                        ///< where the context slides: what is in it
    int64_t num_shown = 0;                              ///< likewise: tokens of the windows so far
    uint64_t num_windows = 0;
    /// What stands around the text in a chunk that has nothing else; empty: not written yet.
    std::string before_text, after_text;
  };

  /// What a call's id begins with.
  virtual std::string_view call_id_prefix() const { return "call_"; }
  /// The events of a choice's next piece.
  virtual std::string piece_events(size_t index, ChoicePiece piece);
  ChoiceState& choice(size_t index) { return choices_[index]; }

 private:
  void add_to_choice(size_t prompt, const OutputEvent& event, Effects& effects);
  void begin_choice(size_t prompt, ChoiceState& state);
  size_t whole_of(size_t prompt) const { return setup_.whole_of.empty() ? prompt : setup_.whole_of[prompt]; }
  std::unique_ptr<Choice> make_choice() const;
  /// Behind a part: the next one's choice, with what has come of it. False: it was the last.
  bool begin_next_part(size_t index, Effects& effects);
  /// Whether the choice goes on in another window, which then is among the effects.
  bool slide(size_t index, const OutputEvent& event, Effects& effects);
  void emit(size_t index, ChoicePiece piece, Effects& effects);
  boost::json::object chunk(size_t index, ChoicePiece piece);
  /// Text and nothing else, in a chunk that is not the choice's first.
  bool is_plain(size_t index, const ChoicePiece& piece) const;
  std::string plain_event(size_t index, std::string_view text);
  boost::json::object frame(std::string_view object_name) const;
  boost::json::object usage() const;
  /// Of a chat: "content", and where there are any "reasoning_content" and "tool_calls".
  boost::json::object message(ChoicePiece& piece) const;
  std::vector<size_t> returned_choices() const;
  boost::json::array prompt_token_ids(size_t prompt) const;
  boost::json::array prompt_logprobs(size_t prompt) const;

  AnswerSetup setup_;
  std::vector<PromptState> prompts_;
  std::vector<ChoiceState> choices_;
  size_t num_open_;
  Counts ended_parts_;  ///< output and reasoning of parts that others follow
  std::optional<std::string> error_;
  std::optional<RequestError> refusal_;
};

/// "data: JSON\n\n"
std::string server_sent_event(const boost::json::object& data);

std::string_view finish_name(FinishReason reason);

/// Begins with `prefix`, then so many digits and letters: another for every call of every answer.
std::string call_id(std::string_view prefix, size_t num_digits, std::string_view answer_id, size_t choice, int call);

}  // namespace echelon
