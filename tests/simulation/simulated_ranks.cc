#include "tests/simulation/simulated_ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/sample/sampler.h"
#include "engine/schedule/micro_batch.h"
#include "engine/schedule/step_masks.h"
#include "engine/schedule/wire.h"
#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon::simulation {
namespace {

constexpr uint64_t kNoTokens = 0x9e3779b97f4a7c15u;

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ b * 0xd6e8feb86659fd93u) * 0xa0761d6478bd642fu;
  x ^= x >> 29;
  x *= 0xe7037ed1a0b428dbu;
  return x ^ x >> 32;
}

/// What a stage keeps of a token whose residual stream is `hidden`.
uint64_t cache_entry(int stage, uint64_t hidden) { return mix(hidden, static_cast<uint64_t>(stage) + 1); }

void put_logits(uint64_t hidden, std::span<float> out) {
  for (size_t token = 0; token < out.size(); ++token) {
    out[token] = static_cast<float>(mix(hidden, token) >> 40) * (8.0f / (1 << 24)) - 4.0f;
  }
}

/// Of [0, 2^24), so that sums are exact.
std::array<float, kHidden> final_hidden_of(uint64_t hidden) {
  return {static_cast<float>(hidden >> 40), static_cast<float>(hidden & 0xffffff)};
}

/// What the last stage makes of every token of a prompt that is run alone.
std::vector<uint64_t> hidden_alone(const std::vector<TokenId>& prompt, int num_stages) {
  std::vector<uint64_t> seen(static_cast<size_t>(num_stages), kNoTokens), all;
  for (const TokenId token : prompt) {
    uint64_t hidden = static_cast<uint64_t>(token);
    for (int stage = 0; stage < num_stages; ++stage) {
      seen[static_cast<size_t>(stage)] = hidden = mix(seen[static_cast<size_t>(stage)], cache_entry(stage, hidden));
    }
    all.push_back(hidden);
  }
  return all;
}

std::vector<TokenId> end_tokens() { return {kEndToken}; }

}  // namespace

TokenMask allowed_after(std::span<const TokenId> tokens) {
  const uint64_t state = mix(static_cast<uint64_t>(tokens.back()), tokens.size());
  TokenMask mask(kVocab);
  if (state % 64 == 0) {
    mask.allow(kEndToken);
    return mask;
  }
  for (TokenId token = 0; token < kVocab; ++token) {
    const bool may_be = token != kEndToken || state % 8 == 1;
    if (may_be && mix(state, static_cast<uint64_t>(token)) % 4 == 0) mask.allow(token);
  }
  mask.allow(static_cast<TokenId>(1 + state % (kVocab - 1)));
  return mask;
}

std::vector<TokenId> tokens_alone(const std::vector<TokenId>& prompt, const SamplingParams& sampling, int choice,
                                  bool masked, int num_stages) {
  std::vector<TokenId> tokens = prompt, output;
  std::vector<uint64_t> seen(static_cast<size_t>(num_stages), kNoTokens);
  SamplingState state(sampling, choice, static_cast<int>(prompt.size()), prompt);
  Sampler sampler(end_tokens());
  std::array<float, kVocab> logits{};
  for (size_t position = 0;; ++position) {
    uint64_t hidden = static_cast<uint64_t>(tokens[position]);
    for (int stage = 0; stage < num_stages; ++stage) {
      seen[static_cast<size_t>(stage)] = hidden = mix(seen[static_cast<size_t>(stage)], cache_entry(stage, hidden));
    }
    if (position + 1 < tokens.size()) continue;
    put_logits(hidden, logits);
    const TokenMask mask = masked ? allowed_after(tokens) : TokenMask();
    const TokenId token = sampler.sample(logits, state, static_cast<int>(position) + 1, masked ? &mask : nullptr).token;
    state.note_output(token);
    tokens.push_back(token);
    output.push_back(token);
    const auto& stops = sampling.stop_token_ids;
    const bool stopped = (token == kEndToken && !sampling.ignore_eos) || std::count(stops.begin(), stops.end(), token);
    const int num_output = static_cast<int>(output.size());
    if (masked && token == kEndToken) return output;
    if ((stopped && num_output > sampling.min_tokens) || num_output >= sampling.max_tokens) return output;
  }
}

std::vector<float> pooled_alone(const std::vector<TokenId>& prompt, Pooling pooling, int num_stages) {
  const std::vector<uint64_t> hidden = hidden_alone(prompt, num_stages);
  std::array<double, kHidden> sum{};
  for (size_t i = pooling == Pooling::last ? hidden.size() - 1 : 0; i < hidden.size(); ++i) {
    const auto values = final_hidden_of(hidden[i]);
    for (size_t k = 0; k < values.size(); ++k) sum[k] += static_cast<double>(values[k]);
  }
  const double count = pooling == Pooling::last ? 1 : static_cast<double>(hidden.size());
  return {static_cast<float>(sum[0] / count), static_cast<float>(sum[1] / count)};
}

class SimulatedRank::HashLayers final : public LayerRunner {
 public:
  HashLayers(int stage, int64_t num_blocks) : stage_(stage), cache_(static_cast<size_t>(num_blocks)) {}

  void embed(const BatchView& batch) override { hidden_.assign(batch.tokens.begin(), batch.tokens.end()); }

  /// All tokens are written before any is read, as in a layer.
  void run_layers(const BatchView& batch) override {
    for (const Segment& segment : batch.segments) {
      for (int i = 0; i < segment.num_rows; ++i) {
        entry(segment, segment.first_position + i) = cache_entry(stage_, hidden_[segment.first_row + i]);
      }
    }
    for (const Segment& segment : batch.segments) {
      uint64_t seen = kNoTokens;
      for (int position = 0; position < segment.first_position + segment.num_rows; ++position) {
        seen = mix(seen, entry(segment, position));
        if (position >= segment.first_position) {
          hidden_[segment.first_row + position - segment.first_position] = seen;
        }
      }
    }
  }

  std::span<const float> logits(std::span<const int> rows) override {
    logits_.resize(rows.size() * kVocab);
    for (size_t i = 0; i < rows.size(); ++i) {
      put_logits(hidden_[static_cast<size_t>(rows[i])], std::span(logits_).subspan(i * kVocab, kVocab));
    }
    return logits_;
  }

  std::span<const float> final_hidden(std::span<const int> rows) override {
    final_hidden_.clear();
    for (const int row : rows) {
      const auto values = final_hidden_of(hidden_[static_cast<size_t>(row)]);
      final_hidden_.insert(final_hidden_.end(), values.begin(), values.end());
    }
    return final_hidden_;
  }

  std::span<std::byte> hidden_bytes(int rows) override {
    hidden_.resize(static_cast<size_t>(rows));
    return std::as_writable_bytes(std::span(hidden_));
  }

 private:
  uint64_t& entry(const Segment& segment, int position) {
    return cache_.at(static_cast<size_t>(segment.blocks[position / kBlockTokens]))[position % kBlockTokens];
  }

  int stage_;
  std::vector<std::array<uint64_t, kBlockTokens>> cache_;
  std::vector<uint64_t> hidden_;
  std::vector<float> logits_, final_hidden_;
};

class SimulatedRank::Link final : public Communicator {
 public:
  Link(int stage, int num_stages, Streams& streams) : stage_(stage), num_stages_(num_stages), streams_(streams) {}
  int rank() const override { return stage_; }
  int size() const override { return num_stages_; }
  void send(int peer, std::span<const std::byte> bytes) override {
    streams_[{stage_, peer}].emplace_back(bytes.begin(), bytes.end());
  }
  void receive(int peer, std::span<std::byte> out) override {
    auto& stream = streams_[{peer, stage_}];
    ECHELON_CHECK(!stream.empty(), "the simulation ran stage {} too early", stage_);
    ECHELON_CHECK(stream.front().size() == out.size(), "{} bytes came, {} are due", stream.front().size(), out.size());
    std::memcpy(out.data(), stream.front().data(), out.size());
    stream.pop_front();
  }
  void all_gather(std::span<const std::byte>, std::span<const std::span<std::byte>>) override { unused(); }
  void all_to_all(std::span<const std::span<const std::byte>>, std::span<const std::span<std::byte>>) override {
    unused();
  }
  void abandon(const std::string&) override {}

 private:
  [[noreturn]] static void unused() { throw CommunicatorError(Part::parallel, "a stage of one rank gathers nothing"); }
  int stage_, num_stages_;
  Streams& streams_;
};

SimulatedRank::SimulatedRank(const RankOptions& options, Streams& streams)
    : layers_(std::make_unique<HashLayers>(options.stage, options.limits.num_blocks)),
      link_(std::make_unique<Link>(options.stage, options.num_stages, streams)) {
  const bool is_last = options.stage + 1 == options.num_stages;
  const Neighbours neighbours{
      .replica = link_.get(), .previous = options.stage - 1, .next = is_last ? -1 : options.stage + 1};
  stage_ =
      std::make_unique<Stage>(*layers_, options.limits, neighbours, is_last, is_last, kVocab, end_tokens(), clock_);
}

SimulatedRank::~SimulatedRank() = default;

bool SimulatedRank::waits_for_masks(std::span<const std::byte> plan) const {
  const MicroBatch batch = decode_micro_batch(plan);
  if (batch.number != last_number_ + 1) return false;
  return std::any_of(batch.rows.begin(), batch.rows.end(), [](const PlanRow& row) { return row.masked; });
}

std::vector<std::byte> SimulatedRank::run(std::span<const std::byte> plan,
                                          std::span<const std::vector<std::byte>> masks, uint32_t stage_us) {
  const MicroBatch batch = decode_micro_batch(plan);
  if (batch.number != last_number_ + 1) {
    throw WireError(fmt::format("plan {} came after plan {}", batch.number, last_number_));
  }
  last_number_ = batch.number;
  for (const SlotRegistration& slot : batch.registrations) {
    uint32_t& newest = generations_[slot.slot];
    ECHELON_CHECK(slot.generation > newest, "slot {} has generation {} again", slot.slot, slot.generation);
    newest = slot.generation;
  }
  const auto take_masks = [&] {
    StepMasksInParts parts(batch.number);
    for (const std::vector<std::byte>& bytes : masks) parts.add(decode_step_masks(bytes, kVocab));
    return parts.take();
  };
  std::optional<StepResult> result = stage_->run(batch, {}, take_masks);
  if (result) result->stage_us = stage_us;
  return result ? encode(*result) : std::vector<std::byte>();
}

}  // namespace echelon::simulation
