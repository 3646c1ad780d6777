#include "frontend/journal/resumable_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace echelon {

ResumableStream::ResumableStream(Journal& journal, StoredStream stored, EventPosition seen, const AnswerSetup& setup)
    : journal_(journal),
      stored_(std::move(stored)),
      seen_(std::move(seen)),
      keeps_tokens_(can_continue(setup.params)),
      num_events_(num_choices(setup)),
      num_tokens_(setup.prompts.size() * static_cast<size_t>(setup.params.num_choices)) {
  for (size_t i = 0; i < std::min(num_tokens_.size(), stored_.choices.size()); ++i)
    num_tokens_[i] = stored_.choices[i].tokens.size();
}

void ResumableStream::note(size_t choice, const OutputEvent& event) {
  if (!keeps_tokens_ || !is_kept_) return;
  if (stored_.number == 0) {
    early_.emplace_back(choice, event);
    return;
  }
  for (const OutputToken& output : event.tokens)
    journal_.add(stored_.number, choice, num_tokens_[choice]++, output.token);
  if (event.finish == FinishReason::stop || event.finish == FinishReason::length)
    journal_.finish(stored_.number, choice, num_tokens_[choice], *event.finish, event.stop_token);
}

void ResumableStream::set_number(std::optional<int64_t> number) {
  stored_.number = number.value_or(0);
  is_kept_ = number.has_value();
  stored_.body.clear();
  for (const auto& [choice, event] : std::exchange(early_, {})) note(choice, event);
}

std::string ResumableStream::pieces(const Answer::Effects& effects) {
  std::string events;
  size_t begin = 0;
  for (const Answer::Piece& piece : effects.pieces) {
    events += numbered(std::string_view(effects.events).substr(begin, piece.end - begin), seen_.choice(piece.choice));
    begin = piece.end;
  }
  return events;
}

std::string ResumableStream::numbered(std::string_view events, size_t lane) {
  constexpr std::string_view kEnd = "\n\n";
  std::string out;
  while (!events.empty()) {
    const size_t end = events.find(kEnd);
    const std::string_view event = events.substr(0, end == events.npos ? end : end + kEnd.size());
    events.remove_prefix(event.size());
    if (++num_events_[lane] <= seen_[lane]) continue;
    seen_[lane] = num_events_[lane];
    if (is_kept_) fmt::format_to(std::back_inserter(out), "id: {}/{}\n", stored_.id, seen_.text());
    out += event;
  }
  return out;
}

bool can_continue(const GenerationParams& params) {
  return params.sampling.num_logprobs < 0 && params.sampling.num_prompt_logprobs < 0 &&
         params.long_input != LongInput::sliding;
}

size_t num_choices(const AnswerSetup& setup) {
  const size_t wholes = setup.whole_of.empty() ? setup.prompts.size() : setup.whole_of.back() + 1;
  return wholes * static_cast<size_t>(setup.params.num_choices);
}

StoredStream stream_to_store(const AnswerSetup& setup, std::string_view path, std::string body) {
  StoredStream stream{.id = setup.id,
                      .tenant = setup.tenant,
                      .path = std::string(path),
                      .body = std::move(body),
                      .fingerprint = setup.model->fingerprint,
                      .began_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                           std::chrono::system_clock::now().time_since_epoch())
                                           .count(),
                      .seed = setup.params.sampling.seed,
                      .prompts = {},
                      .choices = {}};
  for (const AnswerPrompt& prompt : setup.prompts) stream.prompts.push_back(prompt.tokens);
  return stream;
}

}  // namespace echelon
