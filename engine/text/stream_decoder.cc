// The text of a stream: UTF-8 decoding of tokens, and stop strings.
// A stop string begins at a character's first byte, so what is held back and what is sent are whole characters.
#include "engine/text/stream_decoder.h"

#include <algorithm>
#include <utility>

namespace echelon {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, StreamDecoderOptions options)
    : tokenizer_(&tokenizer),
      options_(std::move(options)),
      strip_space_(options_.at_text_start && tokenizer.adds_leading_space()) {}

std::string StreamDecoder::feed(TokenId token) {
  const bool special = tokenizer_->is_special(token);
  const auto& shown = options_.shown;
  if (special && options_.skip_special_tokens && std::find(shown.begin(), shown.end(), token) == shown.end()) return {};
  std::string_view bytes = tokenizer_->token_bytes(token);
  if (strip_space_ && !special && !bytes.empty()) {
    if (bytes.front() == ' ') bytes.remove_prefix(1);
    strip_space_ = false;
  }
  return utf8_.feed(bytes);
}

std::string StreamDecoder::flush() { return utf8_.flush(); }

StopChecker::StopChecker(StopStrings stops) : include_in_output_(stops.include_in_output) {
  for (std::string& text : stops.strings) {
    if (text.empty()) continue;
    Automaton automaton{.text = std::move(text), .failure = {}};
    automaton.failure.assign(automaton.text.size(), 0);
    for (uint32_t i = 1, border = 0; i < automaton.text.size(); ++i) {
      while (border > 0 && automaton.text[i] != automaton.text[border]) border = automaton.failure[border - 1];
      if (automaton.text[i] == automaton.text[border]) ++border;
      automaton.failure[i] = border;
    }
    automata_.push_back(std::move(automaton));
  }
}

void StopChecker::advance(Automaton& automaton, char byte) {
  while (automaton.matched > 0 && automaton.text[automaton.matched] != byte) {
    automaton.matched = automaton.failure[automaton.matched - 1];
  }
  if (automaton.text[automaton.matched] == byte) ++automaton.matched;
}

StopChecker::Output StopChecker::feed(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t read = held_.size() - text.size();  // bytes of held_ that the automata have seen
  while (read < held_.size()) {
    const Automaton* stop = nullptr;
    for (Automaton& automaton : automata_) {
      advance(automaton, held_[read]);
      const bool complete = automaton.matched == automaton.text.size();
      if (complete && (stop == nullptr || automaton.text.size() > stop->text.size())) stop = &automaton;
    }
    ++read;
    if (stop == nullptr) continue;
    stopped_ = true;
    Output output{.text = held_.substr(0, include_in_output_ ? read : read - stop->text.size()),
                  .stopped = true,
                  .stop_string = stop->text};
    held_.clear();
    return output;
  }
  uint32_t keep = 0;
  for (const Automaton& automaton : automata_) keep = std::max(keep, automaton.matched);
  Output output{.text = held_.substr(0, held_.size() - keep), .stop_string = {}};
  held_.erase(0, held_.size() - keep);
  return output;
}

std::string StopChecker::pass(std::string_view text) {
  if (stopped_) return {};
  std::string out = std::move(held_);
  held_.clear();
  for (Automaton& automaton : automata_) automaton.matched = 0;
  return out += text;
}

std::string StopChecker::flush() {
  std::string out = std::move(held_);
  held_.clear();
  for (Automaton& automaton : automata_) automaton.matched = 0;
  return out;
}

}  // namespace echelon
