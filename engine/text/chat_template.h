// Chat templates: a subset of Jinja of our own that renders a conversation into the prompt a model was trained on.
// Equal to the byte to Python's jinja2 as transformers sets it up (immutable sandbox, trim_blocks, lstrip_blocks,
// tojson without ASCII escapes, raise_exception, strftime_now), for the language that published templates use
// (README.md).
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <boost/system/result.hpp>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace echelon {

/// Why a conversation could not be rendered: the client's fault (raised: the template itself refused the conversation
/// by raise_exception; otherwise it does not fit the template, or a limit was reached).
struct TemplateError {
  // Not an aggregate: a text alone must not convert to an error in result<std::string, TemplateError>.
  TemplateError() = default;
  TemplateError(std::string text, int at_line, bool by_template)
      : message(std::move(text)), line(at_line), raised(by_template) {}
  std::string message;  ///< raised: exactly what the template said
  int line;             ///< of the template
  bool raised = false;
};
/// For result::value(): throws Error(Part::text).
[[noreturn]] void throw_exception_from_error(const TemplateError& error, const boost::source_location& location);

struct ChatInput {
  /// Messages as OpenAI has them, with two things done before: arguments of tool calls are objects, not JSON text, and
  /// content is a string where the model takes no parts.
  boost::json::value messages;
  boost::json::value tools;      ///< a list, or null
  boost::json::value documents;  ///< a list, or null
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;
  boost::json::object variables;  ///< further ones (chat_template_kwargs); they win over all of the above
  std::optional<std::tm> now;     ///< for strftime_now; absent: the local time
};

class ChatTemplate {
 public:
  /// Throws Error(Part::text, "chat template, line N: ...") when the source is not a template of the subset.
  static ChatTemplate parse(std::string_view source);
  /// A built-in template (template_built_ins.cc), such as "chatml". Chosen by a user, never guessed. Throws
  /// Error(Part::text) with the known names for another one.
  static ChatTemplate built_in(std::string_view name);
  static std::vector<std::string_view> built_in_names();
  /// What --chat-template takes: the path of a file, or the name of a built-in template; a file of that name wins.
  /// Throws Error(Part::text) with the known names when it is neither.
  static ChatTemplate file_or_built_in(const std::string& name);

  /// Thread-safe. Bounded: at most kMaxSteps steps (0.5 s or so) and kMaxTextBytes of output (template_value.h).
  boost::system::result<std::string, TemplateError> render(const ChatInput& input) const;

  const std::string& source() const { return source_; }
  /// Whether the template reads a variable of this name, such as "tools"; true also when it only might.
  bool mentions(std::string_view variable) const;

 private:
  struct Parsed;
  ChatTemplate(std::string source, std::shared_ptr<const Parsed> parsed);

  std::string source_;
  std::shared_ptr<const Parsed> parsed_;  ///< shared by the copies of this template
};

}  // namespace echelon
