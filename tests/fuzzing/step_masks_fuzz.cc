// Masks of tokens, as the rank that samples gets them, in one part or several.
#include "engine/schedule/step_masks.h"
#include "engine/schedule/wire.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr int64_t kVocab = 130;  // two words and two bits

void run(std::string_view input) {
  try {
    StepMasks masks = decode_step_masks(as_bytes(input), kVocab);
    expect(as_text(encode(masks)) == input, "masks that no encoder wrote were taken");
    StepMasksInParts parts(masks.number);
    parts.add(masks);
    if (!parts.is_whole()) parts.add(std::move(masks));
    parts.take();
  } catch (const WireError&) {
  }
}

std::vector<std::string> seeds() {
  TokenMask mask(kVocab);
  mask.allow(3);
  mask.allow(129);
  StepMasks one{.number = 4, .masks = {{.slot = 1, .generation = 2, .allowed = mask}}};
  StepMasks part{.number = 5, .part = 0, .is_last = false, .masks = {{.slot = 0, .generation = 2, .allowed = mask}}};
  return {as_text(encode(StepMasks{})), as_text(encode(one)), as_text(encode(part))};
}

const Target target("step_masks", run, seeds, {std::string_view("\x07\x00", 2)});

}  // namespace
}  // namespace echelon::fuzzing
