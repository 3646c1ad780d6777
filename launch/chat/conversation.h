// A conversation with a server, as /v1/chat/completions streams it: what is sent, and what is shown of what comes.
// Pure.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace echelon {

struct ChatSettings {
  std::string model;  ///< empty: the server's
  std::string system;
  int max_tokens = 0;  ///< 0: to the end of the context
  std::optional<double> temperature;
  std::optional<int64_t> seed;
};

class ChatConversation {
 public:
  explicit ChatConversation(ChatSettings settings) : settings_(std::move(settings)) { clear(); }

  /// The user's next message; returns the body to be sent.
  std::string ask(std::string text);

  struct Shown {
    std::string reasoning, text;  ///< printable: control characters are left out, but for newlines and tabs
  };
  /// The data of one event. Throws Error(Part::launch) for what the server says is wrong, and for what is no chunk.
  Shown take(std::string_view data);
  /// The answer has ended, or was cut off: it belongs to the conversation. Without any text the question is taken back.
  void end();

  /// Forgets all but the system prompt.
  void clear();
  void set_system(std::string text);

  int64_t completion_tokens() const { return completion_tokens_; }  ///< of the last answer; 0: not said
  const std::string& finish_reason() const { return finish_reason_; }

 private:
  ChatSettings settings_;
  boost::json::array messages_;
  std::string answer_, finish_reason_;
  int64_t completion_tokens_ = 0;
};

/// Without control characters, but for newlines and tabs: a server's text must not command a terminal.
std::string printable(std::string_view text);

}  // namespace echelon
