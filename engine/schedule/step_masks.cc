#include "engine/schedule/step_masks.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>

#include "engine/schedule/wire.h"

namespace echelon {
namespace {

constexpr uint32_t kMasksMagic = 0x534b4d45;  // "EMKS"

/// A mask with few bits goes as their numbers, else as all words.
bool goes_as_list(size_t num_tokens, const TokenMask& mask) {
  return num_tokens * sizeof(TokenId) < mask.words().size_bytes();
}

/// Of the width of the vocabulary, which `mask` has already.
void get_mask(WireReader& in, TokenMask& mask) {
  const bool as_list = in.get_flag("as list");
  if (as_list) {
    TokenId before = -1;
    for (const TokenId token : in.get_all<TokenId>("allowed tokens")) {
      if (token <= before) throw WireError("mask's tokens are not in order");
      if (token >= mask.width()) throw WireError("mask allows a token that is not in the vocabulary");
      mask.allow(token);
      before = token;
    }
  } else {
    const std::vector<uint64_t> words = in.get_all<uint64_t>("mask");
    const bool fits = words.size() == mask.words().size();
    if (!fits || (mask.width() % 64 != 0 && words.back() >> (mask.width() % 64) != 0))
      throw WireError("mask has another width than the vocabulary");
    mask.allow(words);
  }
  if (as_list != goes_as_list(static_cast<size_t>(mask.count()), mask))
    throw WireError("mask comes in the longer of its two forms");
}

}  // namespace

void StepMasksInParts::add(StepMasks part) {
  if (part.number != number_ || part.part != next_part_) {
    throw WireError(fmt::format("masks {}, part {}, came where masks {}, part {}, were expected", part.number,
                                part.part, number_, next_part_));
  }
  ++next_part_;
  is_whole_ = part.is_last;
  std::move(part.masks.begin(), part.masks.end(), std::back_inserter(masks_));
}

std::vector<std::byte> encode(const StepMasks& masks) {
  WireWriter out;
  put_header(out, kMasksMagic);
  out.put(masks.epoch);
  out.put(masks.number);
  out.put(masks.part);
  out.put<uint8_t>(masks.is_last);
  out.put(static_cast<uint32_t>(masks.masks.size()));
  for (const RowMask& mask : masks.masks) {
    out.put(mask.slot);
    out.put(mask.generation);
    const auto count = static_cast<size_t>(mask.allowed.count());
    const bool as_list = goes_as_list(count, mask.allowed);
    out.put<uint8_t>(as_list);
    if (!as_list) {
      out.put_all(mask.allowed.words());
      continue;
    }
    std::vector<TokenId> tokens;
    tokens.reserve(count);
    for (size_t word = 0; word < mask.allowed.words().size(); ++word) {
      for (uint64_t left = mask.allowed.words()[word]; left != 0; left &= left - 1)
        tokens.push_back(static_cast<TokenId>(word * 64 + static_cast<size_t>(std::countr_zero(left))));
    }
    out.put_all(std::span<const TokenId>(tokens));
  }
  return out.take();
}

StepMasks decode_step_masks(std::span<const std::byte> bytes, int64_t vocab) {
  WireReader in(bytes);
  expect_header(in, kMasksMagic);
  StepMasks masks;
  masks.epoch = in.get<uint32_t>("epoch");
  masks.number = in.get<uint64_t>("number");
  masks.part = in.get<uint32_t>("part");
  masks.is_last = in.get_flag("is last");
  constexpr uint64_t kLeastBytes = 13;
  const uint32_t count = in.get_count("masks", bytes.size() / kLeastBytes);
  // A mask that allows nothing is 13 bytes here, and the vocabulary's width in memory.
  if (count > 1 && count * TokenMask::num_words(vocab) * sizeof(uint64_t) > kMaxMasksBytes)
    throw WireError("message has more masks than one may have");
  for (uint32_t i = 0; i < count; ++i) {
    RowMask& mask = masks.masks.emplace_back();
    mask.slot = in.get<int32_t>("slot");
    mask.generation = in.get<uint32_t>("generation");
    mask.allowed = TokenMask(vocab);
    get_mask(in, mask.allowed);
  }
  in.finish();
  return masks;
}

}  // namespace echelon
