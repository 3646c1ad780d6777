// Results of the last stage, as rank 0 gets them.
#include "engine/schedule/micro_batch.h"
#include "engine/schedule/wire.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  try {
    const StepResult result = decode_step_result(as_bytes(input));
    expect(as_text(encode(result)) == input, "a result that no encoder wrote was taken");
  } catch (const WireError&) {
  }
}

std::vector<std::string> seeds() {
  const TokenLogprob logprob{.token = 5, .logprob = -0.5f, .rank = 1, .top = {{5, -0.5f}, {6, -2.0f}}};
  StepResult tokens{.number = 7, .stage_us = 1200};
  tokens.rows = {{.slot = 1, .generation = 3, .sampled = true, .token = {.token = 5, .logprob = logprob}},
                 {.slot = 2, .generation = 1, .sampled = true, .token = {.token = 9, .logprob = std::nullopt}},
                 {.slot = 3, .generation = 1, .token = {}, .prompt_logprobs = {logprob, logprob}}};
  StepResult vectors{.number = 8};
  vectors.rows = {{.slot = 1, .generation = 3, .token = {}, .pooled = {0.5f, -1.0f, 2.0f}}};
  return {as_text(encode(StepResult{})), as_text(encode(tokens)), as_text(encode(vectors))};
}

const Target target("step_result", run, seeds, {"ERES", std::string_view("\x07\x00", 2)});

}  // namespace
}  // namespace echelon::fuzzing
