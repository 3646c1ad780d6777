// A state a part. Every step takes something off held_ or waits for more.
#include "frontend/parts/answer_parser.h"

#include <algorithm>

namespace echelon {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

/// Bytes at the end of `text` that may be the beginning of `mark`.
size_t begun(std::string_view text, std::string_view mark) {
  for (size_t size = std::min(text.size(), mark.size() - 1); size > 0; --size) {
    if (text.substr(text.size() - size) == mark.substr(0, size)) return size;
  }
  return 0;
}

bool may_become(std::string_view text, std::string_view mark) { return mark.starts_with(text.substr(0, mark.size())); }

}  // namespace

AnswerParser::AnswerParser(std::shared_ptr<const AnswerParts> parts) : parts_(std::move(parts)) {
  if (parts_->calls != nullptr) {
    first_begins_ = parts_->first_begins();
    next_begins_ = parts_->next_begins();
  }
  part_empty_ = parts_->reasoning.has_value();  // else blanks before an answer's text are its own
  state_ = !parts_->reasoning ? State::beginning : parts_->reasoning->is_open ? State::reasoning : State::opening;
}

void AnswerParser::feed(std::string_view text, PartsPiece& piece) {
  held_ += text;
  while (!held_.empty() && step(piece)) {
  }
}

bool AnswerParser::step(PartsPiece& piece) {
  switch (state_) {
    case State::opening:
      return open();
    case State::reasoning:
      return take_reasoning(piece);
    case State::beginning:
      return begin_text();
    case State::text:
      return take_text(piece);
    case State::call_begin:
      return begin_call(first_begins_, piece);
    case State::arguments:
      return take_arguments(piece);
    case State::call_end:
      return end_call(piece);
    case State::only_text:
      break;
  }
  piece.text += blanks_ + held_;
  blanks_.clear();
  held_.clear();
  return false;
}

void AnswerParser::finish(PartsPiece& piece) {
  const bool is_call = state_ == State::arguments || state_ == State::call_end;
  if (is_call) return;
  if (state_ == State::reasoning) {
    add(held_, piece.reasoning);
  } else {
    piece.text += blanks_ + held_;
  }
  held_.clear();
  blanks_.clear();
}

/// Blanks at a part's beginning are left out, those behind it wait for more.
void AnswerParser::add(std::string_view text, std::string& out) {
  if (part_empty_) text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  const size_t last = text.find_last_not_of(kBlanks);
  if (last == text.npos) {
    blanks_ += text;
    return;
  }
  part_empty_ = false;
  out += blanks_;
  out += text.substr(0, last + 1);
  blanks_ = text.substr(last + 1);
}

/// False when the mark has not come yet.
bool AnswerParser::take_until(std::string_view mark, std::string& out) {
  const size_t at = held_.find(mark);
  const size_t size = at == held_.npos ? held_.size() - begun(held_, mark) : at;
  add(std::string_view(held_).substr(0, size), out);
  held_.erase(0, size);
  return at != held_.npos;
}

bool AnswerParser::open() {
  const std::string_view begin = parts_->reasoning->begin;
  const size_t first = std::min(held_.find_first_not_of(kBlanks), held_.size());
  const std::string_view text = std::string_view(held_).substr(first);
  if (!may_become(text, begin)) {
    state_ = State::beginning;
    return true;
  }
  if (text.size() < begin.size()) return false;
  held_.erase(0, first + begin.size());
  state_ = State::reasoning;
  return true;
}

bool AnswerParser::take_reasoning(PartsPiece& piece) {
  const std::string_view end = parts_->reasoning->end;
  if (!take_until(end, piece.reasoning)) return false;
  held_.erase(0, end.size());
  blanks_.clear();
  part_empty_ = true;
  state_ = State::beginning;
  return true;
}

bool AnswerParser::begin_text() {
  if (part_empty_) held_.erase(0, std::min(held_.find_first_not_of(kBlanks), held_.size()));
  if (held_.empty()) return false;
  part_empty_ = false;
  if (parts_->calls == nullptr) {
    state_ = State::only_text;
  } else if (!parts_->calls->trigger.empty()) {
    state_ = State::text;
  } else {
    const bool may_be_call = std::any_of(first_begins_.begin(), first_begins_.end(),
                                         [&](const auto& begin) { return may_become(held_, begin.first); });
    state_ = may_be_call ? State::call_begin : State::only_text;
  }
  return true;
}

bool AnswerParser::take_text(PartsPiece& piece) {
  if (!take_until(parts_->calls->trigger, piece.text)) return false;
  state_ = State::call_begin;
  return true;
}

bool AnswerParser::begin_call(const Begins& begins, PartsPiece& piece) {
  bool may_come = false;
  for (const auto& [begin, tool] : begins) {
    if (held_.starts_with(begin)) {
      held_.erase(0, begin.size());
      start_call(tool, piece);
      return true;
    }
    may_come |= may_become(held_, begin);
  }
  if (!may_come) state_ = State::only_text;
  return !may_come;
}

void AnswerParser::start_call(size_t tool, PartsPiece& piece) {
  blanks_.clear();
  piece.calls.push_back({.index = num_calls_++, .id = {}, .name = parts_->tools[tool].name, .arguments = {}});
  state_ = State::arguments;
  depth_ = 0;
  in_string_ = escaped_ = false;
}

bool AnswerParser::take_arguments(PartsPiece& piece) {
  size_t size = 0;
  bool ended = false;
  while (size < held_.size() && !ended) {
    const char c = held_[size++];
    if (in_string_) {
      if (!escaped_ && c == '"') in_string_ = false;
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      ended = --depth_ <= 0;
    }
  }
  const bool is_new = piece.calls.empty() || piece.calls.back().index != num_calls_ - 1;
  if (is_new) piece.calls.push_back({.index = num_calls_ - 1, .id = {}, .name = {}, .arguments = {}});
  piece.calls.back().arguments.append(held_, 0, size);
  held_.erase(0, size);
  if (ended) state_ = State::call_end;
  return ended;
}

bool AnswerParser::end_call(PartsPiece& piece) {
  if (parts_->last_end().starts_with(held_)) return false;
  return begin_call(next_begins_, piece);
}

}  // namespace echelon
