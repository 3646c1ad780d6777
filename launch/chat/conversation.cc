#include "launch/chat/conversation.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "kernels/base/error.h"

namespace echelon {
namespace {

namespace json = boost::json;

[[noreturn]] void fail(const std::string& what) { throw Error(Part::launch, what); }

/// The text at a place of a chunk; empty when there is none.
std::string text_at(const json::value& chunk, std::string_view pointer) {
  boost::system::error_code absent;
  const json::value* value = chunk.find_pointer(pointer, absent);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (is_c1) {
      ++i;
    } else if ((byte >= ' ' && byte != 0x7F) || byte == '\n' || byte == '\t') {
      out += text[i];
    }
  }
  return out;
}

void ChatConversation::clear() {
  messages_.clear();
  if (!settings_.system.empty()) messages_.push_back(json::object{{"role", "system"}, {"content", settings_.system}});
}

void ChatConversation::set_system(std::string text) {
  settings_.system = std::move(text);
  clear();
}

std::string ChatConversation::ask(std::string text) {
  messages_.push_back(json::object{{"role", "user"}, {"content", std::move(text)}});
  json::object body{
      {"messages", messages_}, {"stream", true}, {"stream_options", json::object{{"include_usage", true}}}};
  if (!settings_.model.empty()) body["model"] = settings_.model;
  if (settings_.max_tokens > 0) body["max_tokens"] = settings_.max_tokens;
  if (settings_.temperature) body["temperature"] = *settings_.temperature;
  if (settings_.seed) body["seed"] = *settings_.seed;
  answer_.clear();
  finish_reason_.clear();
  completion_tokens_ = 0;
  return json::serialize(body);
}

ChatConversation::Shown ChatConversation::take(std::string_view data) {
  if (data == "[DONE]") return {};
  boost::system::error_code fault;
  const json::value chunk = json::parse(data, fault);
  if (fault || !chunk.is_object()) fail("the server sent an event that is no JSON object");
  if (chunk.get_object().contains("error")) fail(printable(text_at(chunk, "/error/message")));
  const json::value* tokens = chunk.find_pointer("/usage/completion_tokens", fault);
  if (tokens != nullptr && tokens->is_int64()) completion_tokens_ = tokens->get_int64();
  if (std::string reason = text_at(chunk, "/choices/0/finish_reason"); !reason.empty())
    finish_reason_ = std::move(reason);
  const std::string text = text_at(chunk, "/choices/0/delta/content");
  answer_ += text;
  return {.reasoning = printable(text_at(chunk, "/choices/0/delta/reasoning_content")), .text = printable(text)};
}

void ChatConversation::end() {
  if (answer_.empty()) {
    messages_.pop_back();
  } else {
    messages_.push_back(json::object{{"role", "assistant"}, {"content", std::exchange(answer_, {})}});
  }
}

}  // namespace echelon
