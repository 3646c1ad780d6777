#include "engine/schedule/micro_batch.h"

#include <limits>

#include "engine/schedule/wire.h"
#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr uint32_t kPlanMagic = 0x4e4c5045;    // "EPLN"
constexpr uint32_t kResultMagic = 0x53455245;  // "ERES"

void put_sampling(WireWriter& out, const SamplingParams& p) {
  out.put(p.temperature);
  out.put(p.top_k);
  out.put(p.top_p);
  out.put(p.min_p);
  out.put(p.typical_p);
  out.put(p.repetition_penalty);
  out.put(p.presence_penalty);
  out.put(p.frequency_penalty);
  out.put(p.seed);
  out.put(p.max_tokens);
  out.put(p.min_tokens);
  out.put<uint8_t>(p.ignore_eos);
  out.put_all(std::span(p.stop_token_ids));
  out.put_all(std::span(p.allowed_token_ids));
  out.put(static_cast<uint32_t>(p.logit_bias.size()));
  for (const auto& [token, bias] : p.logit_bias) {
    out.put(token);
    out.put(bias);
  }
  out.put(static_cast<uint32_t>(p.bad_words.size()));
  for (const std::vector<TokenId>& word : p.bad_words) out.put_all(std::span(word));
  out.put(p.num_logprobs);
  out.put(p.num_prompt_logprobs);
}

SamplingParams get_sampling(WireReader& in) {
  SamplingParams p;
  p.temperature = in.get<float>("temperature");
  p.top_k = in.get<int>("top_k");
  p.top_p = in.get<float>("top_p");
  p.min_p = in.get<float>("min_p");
  p.typical_p = in.get<float>("typical_p");
  p.repetition_penalty = in.get<float>("repetition_penalty");
  p.presence_penalty = in.get<float>("presence_penalty");
  p.frequency_penalty = in.get<float>("frequency_penalty");
  p.seed = in.get<uint64_t>("seed");
  p.max_tokens = in.get<int>("max_tokens");
  p.min_tokens = in.get<int>("min_tokens");
  p.ignore_eos = in.get_flag("ignore_eos");
  p.stop_token_ids = in.get_all<TokenId>("stop_token_ids");
  p.allowed_token_ids = in.get_all<TokenId>("allowed_token_ids");
  const uint32_t num_biases = in.get_count("logit_bias", kMaxLogitBiases);
  for (uint32_t i = 0; i < num_biases; ++i) {
    const auto token = in.get<TokenId>("logit_bias token");
    p.logit_bias.push_back({.token = token, .bias = in.get<float>("logit_bias")});
  }
  const uint32_t num_words = in.get_count("bad_words", kMaxBadWords);
  for (uint32_t i = 0; i < num_words; ++i) p.bad_words.push_back(in.get_all<TokenId>("bad_words"));
  p.num_logprobs = in.get<int>("num_logprobs");
  p.num_prompt_logprobs = in.get<int>("num_prompt_logprobs");
  return p;
}

void put_logprob(WireWriter& out, const TokenLogprob& logprob) {
  out.put(logprob.token);
  out.put(logprob.logprob);
  out.put(logprob.rank);
  out.put(static_cast<uint32_t>(logprob.top.size()));
  for (const auto& [token, value] : logprob.top) {
    out.put(token);
    out.put(value);
  }
}

TokenLogprob get_logprob(WireReader& in) {
  TokenLogprob logprob;
  logprob.token = in.get<TokenId>("logprob token");
  logprob.logprob = in.get<float>("logprob");
  logprob.rank = in.get<int>("rank");
  const uint32_t count = in.get_count("top logprobs", kMaxLogprobs);
  for (uint32_t i = 0; i < count; ++i) {
    const auto token = in.get<TokenId>("top token");
    logprob.top.emplace_back(token, in.get<float>("top logprob"));
  }
  return logprob;
}

/// What a row has beside slot, generation and position, in its first byte. A steady decode has a sample alone.
enum RowBits : uint8_t {
  kSamples = 1,
  kSeveralTokens = 2,
  kNewBlocks = 4,
  kTargets = 8,
  kMasked = 16,
  kSums = 32,
  kPools = 64,
  kAllRowBits = 127
};
/// Likewise of a row of a result.
enum ResultBits : uint8_t { kHasToken = 1, kHasVector = 2, kAllResultBits = 3 };
constexpr uint32_t kLeastRowBytes = 4;
constexpr uint32_t kMostInt = std::numeric_limits<int32_t>::max();

/// A token id, or kFedBackToken, as a number from 0.
uint32_t number_of(TokenId token) { return static_cast<uint32_t>(token) - static_cast<uint32_t>(kFedBackToken); }
TokenId token_of(uint32_t number) { return static_cast<TokenId>(number + static_cast<uint32_t>(kFedBackToken)); }

void put_row(WireWriter& out, const PlanRow& row) {
  const bool has_targets = row.targets_from != 0 || row.num_targets != 0;
  out.put(static_cast<uint8_t>((row.sample ? kSamples : 0) | (row.num_tokens != 1 ? kSeveralTokens : 0) |
                               (row.num_new_blocks != 0 ? kNewBlocks : 0) | (has_targets ? kTargets : 0) |
                               (row.masked ? kMasked : 0) | (row.sum ? kSums : 0) | (row.pool ? kPools : 0)));
  out.put_number(static_cast<uint32_t>(row.slot));
  out.put_number(row.generation);
  out.put_number(static_cast<uint32_t>(row.first_position));
  if (row.num_tokens != 1) out.put_number(static_cast<uint32_t>(row.num_tokens));
  if (row.num_new_blocks != 0) out.put_number(static_cast<uint32_t>(row.num_new_blocks));
  if (has_targets) {
    out.put_number(static_cast<uint32_t>(row.targets_from));
    out.put_number(static_cast<uint32_t>(row.num_targets));
  }
}

PlanRow get_row(WireReader& in) {
  PlanRow row;
  const auto bits = in.get<uint8_t>("row");
  row.sample = (bits & kSamples) != 0;
  row.masked = (bits & kMasked) != 0;
  row.sum = (bits & kSums) != 0;
  row.pool = (bits & kPools) != 0;
  row.slot = static_cast<int32_t>(in.get_number("slot", kMostInt));
  row.generation = in.get_number("generation", std::numeric_limits<uint32_t>::max());
  row.first_position = static_cast<int32_t>(in.get_number("first_position", kMaxModelLen));
  row.num_tokens = (bits & kSeveralTokens) != 0 ? static_cast<int32_t>(in.get_number("num_tokens", kMostInt)) : 1;
  if ((bits & kNewBlocks) != 0) row.num_new_blocks = static_cast<int32_t>(in.get_number("num_new_blocks", kMostInt));
  if ((bits & kTargets) != 0) {
    row.targets_from = static_cast<int32_t>(in.get_number("targets_from", kMostInt));
    row.num_targets = static_cast<int32_t>(in.get_number("num_targets", kMostInt));
  }
  // Every row has one form in bytes.
  if (bits > kAllRowBits || (row.masked && !row.sample) || (row.sample && (row.sum || row.pool)) ||
      ((bits & kSeveralTokens) != 0 && row.num_tokens == 1) || ((bits & kNewBlocks) != 0 && row.num_new_blocks == 0) ||
      ((bits & kTargets) != 0 && row.targets_from == 0 && row.num_targets == 0)) {
    throw WireError("plan row says what it has in a way that none does");
  }
  return row;
}

/// A list whose elements take at least `least_bytes` each; nothing is allocated beyond what can be there.
template <typename T, typename Get>
std::vector<T> get_list(WireReader& in, const char* field, uint32_t least_bytes, Get get) {
  const uint32_t count = in.get_number(field, std::numeric_limits<uint32_t>::max());
  if (count > in.num_left() / least_bytes) throw WireError(std::string("message ends inside field ") + field);
  std::vector<T> list;
  list.reserve(count);
  for (uint32_t i = 0; i < count; ++i) list.push_back(get());
  return list;
}

void put_tokens(WireWriter& out, std::span<const TokenId> tokens) {
  out.put_number(static_cast<uint32_t>(tokens.size()));
  for (const TokenId token : tokens) out.put_number(number_of(token));
}

std::vector<TokenId> get_tokens(WireReader& in, const char* field) {
  return get_list<TokenId>(in, field, 1,
                           [&] { return token_of(in.get_number(field, std::numeric_limits<uint32_t>::max())); });
}

void check_counts(const MicroBatch& batch) {
  int64_t tokens = 0, blocks = 0, targets = 0;
  for (const PlanRow& row : batch.rows) {
    if (row.num_tokens < 1 || row.num_new_blocks < 0 || row.first_position < 0 || row.first_position > kMaxModelLen ||
        row.targets_from < 0 || row.num_targets < 0 || int64_t{row.targets_from} + row.num_targets > row.num_tokens) {
      throw WireError("plan row has numbers out of range");
    }
    tokens += row.num_tokens;
    blocks += row.num_new_blocks;
    targets += row.num_targets;
  }
  if (tokens != static_cast<int64_t>(batch.tokens.size()) || blocks != static_cast<int64_t>(batch.new_blocks.size()) ||
      targets != static_cast<int64_t>(batch.targets.size())) {
    throw WireError("plan rows do not agree with the plan's tokens, blocks or targets");
  }
}

}  // namespace

std::vector<std::byte> encode(const MicroBatch& batch) {
  WireWriter out;
  put_header(out, kPlanMagic);
  out.put(batch.epoch);
  out.put(batch.number);
  out.put(static_cast<uint32_t>(batch.registrations.size()));
  for (const SlotRegistration& slot : batch.registrations) {
    out.put(slot.slot);
    out.put(slot.generation);
    out.put(slot.choice);
    out.put(slot.num_prompt);
    put_sampling(out, slot.sampling);
    out.put_all(std::span(slot.tokens));
  }
  out.put_number(static_cast<uint32_t>(batch.rows.size()));
  for (const PlanRow& row : batch.rows) put_row(out, row);
  put_tokens(out, batch.tokens);
  out.put_number(static_cast<uint32_t>(batch.new_blocks.size()));
  for (const int32_t block : batch.new_blocks) out.put_number(static_cast<uint32_t>(block));
  put_tokens(out, batch.targets);
  return out.take();
}

MicroBatch decode_micro_batch(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  expect_header(in, kPlanMagic);
  MicroBatch batch;
  batch.epoch = in.get<uint32_t>("epoch");
  batch.number = in.get<uint64_t>("number");
  const uint32_t num_registrations = in.get_count("registrations", bytes.size());
  for (uint32_t i = 0; i < num_registrations; ++i) {
    SlotRegistration slot;
    slot.slot = in.get<int32_t>("slot");
    slot.generation = in.get<uint32_t>("generation");
    slot.choice = in.get<int32_t>("choice");
    slot.num_prompt = in.get<int32_t>("num_prompt");
    slot.sampling = get_sampling(in);
    slot.tokens = in.get_all<TokenId>("slot tokens");
    if (slot.num_prompt < 0 || slot.choice < 0) throw WireError("slot registration has numbers out of range");
    batch.registrations.push_back(std::move(slot));
  }
  batch.rows = get_list<PlanRow>(in, "rows", kLeastRowBytes, [&] { return get_row(in); });
  batch.tokens = get_tokens(in, "tokens");
  batch.new_blocks = get_list<int32_t>(in, "new_blocks", 1,
                                       [&] { return static_cast<int32_t>(in.get_number("new_blocks", kMostInt)); });
  batch.targets = get_tokens(in, "targets");
  in.finish();
  check_counts(batch);
  return batch;
}

std::vector<std::byte> encode(const StepResult& result) {
  WireWriter out;
  put_header(out, kResultMagic);
  out.put(result.epoch);
  out.put(result.number);
  out.put(result.stage_us);
  out.put(static_cast<uint32_t>(result.rows.size()));
  for (const RowResult& row : result.rows) {
    out.put(row.slot);
    out.put(row.generation);
    out.put(static_cast<uint8_t>((row.sampled ? kHasToken : 0) | (row.pooled.empty() ? 0 : kHasVector)));
    if (!row.pooled.empty()) out.put_all(std::span(row.pooled));
    out.put(row.token.token);
    out.put<uint8_t>(row.token.logprob.has_value());
    if (row.token.logprob) put_logprob(out, *row.token.logprob);
    out.put(static_cast<uint32_t>(row.prompt_logprobs.size()));
    for (const TokenLogprob& logprob : row.prompt_logprobs) put_logprob(out, logprob);
  }
  return out.take();
}

StepResult decode_step_result(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  expect_header(in, kResultMagic);
  StepResult result;
  result.epoch = in.get<uint32_t>("epoch");
  result.number = in.get<uint64_t>("number");
  result.stage_us = in.get<uint32_t>("stage time");
  const uint32_t num_rows = in.get_count("result rows", bytes.size());
  for (uint32_t i = 0; i < num_rows; ++i) {
    RowResult row;
    row.slot = in.get<int32_t>("slot");
    row.generation = in.get<uint32_t>("generation");
    const auto bits = in.get<uint8_t>("sampled");
    row.sampled = (bits & kHasToken) != 0;
    if ((bits & kHasVector) != 0) row.pooled = in.get_all<float>("pooled");
    if (bits > kAllResultBits || ((bits & kHasVector) != 0 && row.pooled.empty()))
      throw WireError("result row says what it has in a way that none does");
    row.token.token = in.get<TokenId>("token");
    if (in.get_flag("has logprob")) row.token.logprob = get_logprob(in);
    const uint32_t num_prompt = in.get_count("prompt logprobs", bytes.size());
    for (uint32_t j = 0; j < num_prompt; ++j) row.prompt_logprobs.push_back(get_logprob(in));
    result.rows.push_back(std::move(row));
  }
  in.finish();
  return result;
}

}  // namespace echelon
