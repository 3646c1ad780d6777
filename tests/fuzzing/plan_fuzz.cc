// Plans, as rank 0 sends them: what is taken is exactly what an encoder writes, and a slot table takes it or says what
// is wrong with it.
#include "engine/schedule/wire.h"
#include "engine/stage/slot_table.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr SlotLimits kLimits{.num_slots = 4, .num_blocks = 64, .vocab = 1000, .max_rows = 128, .max_model_len = 1024};

void run(std::string_view input) {
  try {
    const MicroBatch batch = decode_micro_batch(as_bytes(input));
    expect(as_text(encode(batch)) == input, "a plan that no encoder wrote was taken");
    SlotTable table(kLimits);
    table.apply(batch);
    MicroBatch second = batch;  // the table is as the first has left it
    second.registrations.clear();
    table.apply(second);
  } catch (const WireError&) {
  }
}

std::vector<std::string> seeds() {
  MicroBatch empty;
  MicroBatch prompt{.number = 1, .tokens = {5, 6, 7}, .new_blocks = {3}, .targets = {6, 7}};
  prompt.registrations.push_back({.slot = 1, .generation = 9, .num_prompt = 3, .tokens = {5, 6, 7}});
  SamplingParams& sampling = prompt.registrations[0].sampling;
  sampling = {.temperature = 0.5f, .top_k = 40, .repetition_penalty = 1.1f, .seed = 17, .max_tokens = 20};
  sampling.stop_token_ids = {2};
  sampling.allowed_token_ids = {1, 2, 3};
  sampling.logit_bias = {{.token = 7, .bias = -1.5f}};
  sampling.bad_words = {{4, 5}, {6}};
  sampling.num_logprobs = 2;
  prompt.rows = {{.slot = 1, .generation = 9, .num_tokens = 3, .num_new_blocks = 1, .num_targets = 2, .sample = true}};
  MicroBatch decode{.number = 2, .tokens = {kFedBackToken, 8}, .new_blocks = {}, .targets = {}};
  decode.rows = {{.slot = 1, .generation = 9, .first_position = 3, .num_tokens = 1, .sample = true, .masked = true},
                 {.slot = 2, .generation = 1, .first_position = 300, .num_tokens = 1, .sum = true, .pool = true}};
  return {as_text(encode(empty)), as_text(encode(prompt)), as_text(encode(decode))};
}

const Target target("plan", run, seeds, {"EPLN", std::string_view("\x07\x00", 2)});

}  // namespace
}  // namespace echelon::fuzzing
