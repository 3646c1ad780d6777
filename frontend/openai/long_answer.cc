// What an Answer does for prompts that the context has no room for: parts that follow each other, a window that slides.
#include <algorithm>
#include <utility>

#include "frontend/openai/answer.h"

namespace echelon {

bool Answer::begin_next_part(size_t index, Effects& effects) {
  ChoiceState& state = choices_[index];
  const size_t next = state.part + 1;
  if (next >= setup_.prompts.size() || whole_of(next) != whole_of(state.part)) return false;
  ended_parts_.output += state.choice->num_tokens();
  ended_parts_.reasoning += state.choice->num_reasoning_tokens();
  ChoicePiece piece = state.choice->take();
  piece.finish.reset();
  piece.stop_reason = nullptr;
  piece.text += '\n';
  emit(index, std::move(piece), effects);
  state.choice = make_choice();
  state.part = next;
  for (auto& [prompt, event] : std::exchange(state.later, {})) add_to_choice(prompt, event, effects);
  return true;
}

bool Answer::slide(size_t index, const OutputEvent& event, Effects& effects) {
  const GenerationParams& params = setup_.params;
  if (params.long_input != LongInput::sliding || !params.max_tokens) return false;
  ChoiceState& state = choices_[index];
  for (const OutputToken& token : event.tokens) state.window.push_back(token.token);
  state.num_shown += static_cast<int64_t>(event.tokens.size());
  const int64_t left = *params.max_tokens - state.num_shown;
  if (event.finish != FinishReason::length || left <= 0) return false;
  const int64_t context = setup_.model->max_model_len, kept = std::max<int64_t>(context / 2, 1);
  if (static_cast<int64_t>(state.window.size()) > kept)
    state.window.erase(state.window.begin(), state.window.end() - kept);
  const int64_t room = context - static_cast<int64_t>(state.window.size());
  if (room < 1) return false;
  const auto wanted = static_cast<int>(std::min(left, room));
  effects.windows.push_back(
      {.of = {.prompt = state.part, .choice = event.choice},
       .prompt = state.window,
       .max_tokens = wanted,
       .min_tokens = static_cast<int>(std::clamp<int64_t>(params.min_tokens - state.num_shown, 0, wanted)),
       .seed = params.sampling.seed + ++state.num_windows});
  return true;
}

}  // namespace echelon
