// Messages between ranks: what is encoded comes back, and bytes that nobody encoded are a WireError or a value, never a
// crash and never memory out of proportion to the message.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <random>

#include "engine/rank_messages.h"
#include "engine/schedule/micro_batch.h"
#include "engine/schedule/step_masks.h"
#include "engine/schedule/wire.h"
#include "kernels/base/limits.h"

namespace {
thread_local size_t largest_allocation = 0;

void* noted_allocation(size_t size) noexcept {
  if (size > largest_allocation) largest_allocation = size;
  return std::malloc(size == 0 ? 1 : size);
}

void* noted_allocation_or_throw(size_t size) {
  if (void* memory = noted_allocation(size)) return memory;
  throw std::bad_alloc();
}
}  // namespace

// Of the whole test program: to see a thread's largest single allocation.
void* operator new(size_t size) { return noted_allocation_or_throw(size); }
void* operator new[](size_t size) { return noted_allocation_or_throw(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return noted_allocation(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return noted_allocation(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace echelon {
namespace {

using Bytes = std::vector<std::byte>;

constexpr int kNumMutations = 20'000;

// --- random values that a sender may send ---

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  int below(int end) { return static_cast<int>(random_() % static_cast<uint64_t>(end)); }
  double measure() { return std::abs(real()); }
  float real() { return static_cast<float>(below(2'000'001) - 1'000'000) / 1024; }
  std::vector<TokenId> tokens(int most) {
    std::vector<TokenId> ids(static_cast<size_t>(below(most + 1)));
    for (TokenId& id : ids) id = below(1 << 21);
    return ids;
  }

  static constexpr int kMaskWidth = 1003;
  StepMasks step_masks() {
    StepMasks masks{.epoch = static_cast<uint32_t>(random_()), .number = random_(), .masks = {}};
    masks.part = static_cast<uint32_t>(below(3));
    masks.is_last = below(2) == 0;
    for (int n = below(4); n > 0; --n) {
      RowMask& mask = masks.masks.emplace_back();
      mask.slot = below(100);
      mask.generation = static_cast<uint32_t>(random_());
      mask.allowed = TokenMask(kMaskWidth);
      for (int k = below(2) == 0 ? below(5) : 400; k > 0; --k) mask.allowed.allow(below(kMaskWidth));
    }
    return masks;
  }

  SamplingParams sampling() {
    return {.temperature = real(),
            .top_k = below(100) - 1,
            .top_p = real(),
            .min_p = real(),
            .typical_p = real(),
            .repetition_penalty = real(),
            .presence_penalty = real(),
            .frequency_penalty = real(),
            .seed = random_(),
            .max_tokens = below(1 << 20),
            .min_tokens = below(1 << 20),
            .ignore_eos = below(2) == 1,
            .stop_token_ids = tokens(4),
            .logit_bias = {{.token = below(1 << 21), .bias = real()}},
            .allowed_token_ids = tokens(4),
            .bad_words = {tokens(3), tokens(2)},
            .num_logprobs = below(22) - 1,
            .num_prompt_logprobs = below(22) - 1};
  }

  MicroBatch micro_batch() {
    MicroBatch batch{.epoch = static_cast<uint32_t>(random_()), .number = random_()};
    for (int i = below(3); i > 0; --i) {
      batch.registrations.push_back({.slot = below(256),
                                     .generation = static_cast<uint32_t>(random_()),
                                     .choice = below(8),
                                     .num_prompt = below(1000),
                                     .sampling = sampling(),
                                     .tokens = tokens(6)});
    }
    for (int i = below(5); i > 0; --i) {
      PlanRow row{.slot = below(256), .generation = static_cast<uint32_t>(random_()), .first_position = below(10'000)};
      row.num_tokens = 1 + below(6);
      row.num_new_blocks = below(3);
      row.targets_from = below(row.num_tokens);
      row.num_targets = below(row.num_tokens - row.targets_from + 1);
      row.sample = below(2) == 1;
      row.sum = !row.sample && below(2) == 1;
      row.pool = !row.sample && below(2) == 1;
      batch.rows.push_back(row);
      for (int j = 0; j < row.num_tokens; ++j) batch.tokens.push_back(below(1 << 21));
      for (int j = 0; j < row.num_new_blocks; ++j) batch.new_blocks.push_back(below(1 << 20));
      for (int j = 0; j < row.num_targets; ++j) batch.targets.push_back(below(1 << 21));
    }
    return batch;
  }

  TokenLogprob logprob() {
    TokenLogprob made{.token = below(1 << 21), .logprob = real(), .rank = 1 + below(1000)};
    for (int i = below(kMaxLogprobs + 1); i > 0; --i) made.top.emplace_back(below(1 << 21), real());
    return made;
  }

  StepResult step_result() {
    StepResult result{.epoch = static_cast<uint32_t>(random_()), .number = random_()};
    result.stage_us = static_cast<uint32_t>(random_());
    for (int i = below(5); i > 0; --i) {
      RowResult row{.slot = below(256), .generation = static_cast<uint32_t>(random_()), .sampled = below(2) == 1};
      row.token.token = below(1 << 21) - 1;
      if (below(2)) row.token.logprob = logprob();
      for (int j = below(4); j > 0; --j) row.prompt_logprobs.push_back(logprob());
      for (int j = below(2) * below(5); j > 0; --j) row.pooled.push_back(real());
      result.rows.push_back(std::move(row));
    }
    return result;
  }

  RankStatus rank_status() {
    RankStatus status{.phase = static_cast<RankPhase>(1 + below(4)),
                      .settings_digest = random_(),
                      .max_blocks = below(1 << 30),
                      .host_bytes = random_(),
                      .loaded_share = below(1025) / 1024.0};
    status.metrics = {.rank = below(64),
                      .dp = below(4),
                      .pp = below(4),
                      .tp = below(4),
                      .host = std::string(below(20), 'h'),
                      .cpu_seconds = measure(),
                      .resident_bytes = random_(),
                      .busy_seconds = measure(),
                      .sampling_seconds = measure(),
                      .wait = {measure(), measure(), measure(), measure()},
                      .work = {measure(), {measure(), measure(), measure(), measure()}},
                      .ceiling = {measure(), {measure(), measure(), measure(), measure()}},
                      .weight_bytes = random_(),
                      .kv_bytes = random_(),
                      .activation_bytes = random_(),
                      .load_seconds = measure()};
    status.first_span = random_();
    for (int i = below(5); i > 0; --i) {
      const auto end = static_cast<uint32_t>(below(1 << 20));
      status.spans.push_back({.rows = static_cast<uint32_t>(below(512)),
                              .begin_us = end + static_cast<uint32_t>(below(1 << 20)),
                              .end_us = end});
    }
    return status;
  }

  static constexpr int kNumRanks = 64;
  Assignment assignment() {
    Assignment assignment{.replica = below(8),
                          .sizes = {.dp = 1, .tp = 1 + below(4), .pp = 1 + below(4)},
                          .ranks = {},
                          .ranks_on_host = 1 + below(8)};
    const int first = below(kNumRanks - 16);
    for (int i = 0; i < assignment.sizes.num_ranks(); ++i) assignment.ranks.push_back(first + i);
    return assignment;
  }

  StartOrder start_order() { return {.num_blocks = 1 + below(1 << 30), .end_tokens = tokens(8)}; }

  /// Bits flipped, a field set to a hostile number, bytes cut off, put in, taken out or moved.
  Bytes mutate(Bytes bytes) {
    static constexpr uint32_t kHostile[] = {0,        1,          0x7f,       0xff,       0xffff,    0x10000,
                                            0x1fffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    for (int i = 1 + below(3); i > 0; --i) {
      if (bytes.empty()) return bytes;
      const auto at = static_cast<ptrdiff_t>(random_() % bytes.size());
      switch (below(6)) {
        case 0:
          bytes[at] ^= static_cast<std::byte>(1 << below(8));
          break;
        case 1:
          if (const uint32_t number = kHostile[random_() % std::size(kHostile)]; bytes.size() - at >= sizeof(number)) {
            std::memcpy(bytes.data() + at, &number, sizeof(number));
          }
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          for (int j = 1 + below(8); j > 0; --j) bytes.insert(bytes.begin() + at, static_cast<std::byte>(below(256)));
          break;
        case 4:
          bytes.erase(bytes.begin() + at, bytes.begin() + std::min<ptrdiff_t>(at + 1 + below(8), std::ssize(bytes)));
          break;
        default:
          std::rotate(bytes.begin() + at, bytes.begin() + at + std::min<ptrdiff_t>(4, std::ssize(bytes) - at),
                      bytes.end());
      }
    }
    return bytes;
  }

 private:
  std::mt19937_64 random_;
};

// --- equality, field by field (bits of floats: a mutated one may be a NaN) ---

void expect_equal(const TokenLogprob& a, const TokenLogprob& b) {
  EXPECT_EQ(a.token, b.token);
  EXPECT_EQ(a.logprob, b.logprob);
  EXPECT_EQ(a.rank, b.rank);
  EXPECT_EQ(a.top, b.top);
}

void expect_equal(const MicroBatch& a, const MicroBatch& b) {
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.number, b.number);
  ASSERT_EQ(a.registrations.size(), b.registrations.size());
  for (size_t i = 0; i < a.registrations.size(); ++i) {
    const SlotRegistration &x = a.registrations[i], &y = b.registrations[i];
    EXPECT_EQ(std::tie(x.slot, x.generation, x.choice, x.num_prompt, x.sampling, x.tokens),
              std::tie(y.slot, y.generation, y.choice, y.num_prompt, y.sampling, y.tokens));
  }
  ASSERT_EQ(a.rows.size(), b.rows.size());
  for (size_t i = 0; i < a.rows.size(); ++i) {
    const PlanRow &x = a.rows[i], &y = b.rows[i];
    EXPECT_EQ(std::tie(x.slot, x.generation, x.first_position, x.num_tokens, x.num_new_blocks, x.targets_from,
                       x.num_targets, x.sample, x.sum, x.pool),
              std::tie(y.slot, y.generation, y.first_position, y.num_tokens, y.num_new_blocks, y.targets_from,
                       y.num_targets, y.sample, y.sum, y.pool));
  }
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.new_blocks, b.new_blocks);
  EXPECT_EQ(a.targets, b.targets);
}

void expect_equal(const StepResult& a, const StepResult& b) {
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.number, b.number);
  EXPECT_EQ(a.stage_us, b.stage_us);
  ASSERT_EQ(a.rows.size(), b.rows.size());
  for (size_t i = 0; i < a.rows.size(); ++i) {
    const RowResult &x = a.rows[i], &y = b.rows[i];
    EXPECT_EQ(std::tie(x.slot, x.generation, x.sampled, x.token.token),
              std::tie(y.slot, y.generation, y.sampled, y.token.token));
    ASSERT_EQ(x.pooled.size(), y.pooled.size());
    if (!x.pooled.empty()) {
      EXPECT_EQ(std::memcmp(x.pooled.data(), y.pooled.data(), x.pooled.size() * sizeof(float)), 0);
    }
    ASSERT_EQ(x.token.logprob.has_value(), y.token.logprob.has_value());
    if (x.token.logprob) expect_equal(*x.token.logprob, *y.token.logprob);
    ASSERT_EQ(x.prompt_logprobs.size(), y.prompt_logprobs.size());
    for (size_t j = 0; j < x.prompt_logprobs.size(); ++j) expect_equal(x.prompt_logprobs[j], y.prompt_logprobs[j]);
  }
}

void expect_equal(const RankStatus& a, const RankStatus& b) {
  EXPECT_EQ(std::tie(a.phase, a.settings_digest, a.max_blocks, a.host_bytes, a.loaded_share),
            std::tie(b.phase, b.settings_digest, b.max_blocks, b.host_bytes, b.loaded_share));
  const RankMetrics &x = a.metrics, &y = b.metrics;
  const auto numbers = [](const RankMetrics& m) {
    std::vector<double> all{m.cpu_seconds, m.busy_seconds,  m.sampling_seconds, m.load_seconds, m.wait.plan,
                            m.wait.send,   m.wait.exchange, m.wait.activations, m.work.bytes,   m.ceiling.bytes};
    for (const StageWork& work : {m.work, m.ceiling})
      all.insert(all.end(), work.operations.begin(), work.operations.end());
    return all;
  };
  EXPECT_EQ(std::tie(x.rank, x.dp, x.pp, x.tp, x.host), std::tie(y.rank, y.dp, y.pp, y.tp, y.host));
  EXPECT_EQ(numbers(x), numbers(y));
  EXPECT_EQ(a.first_span, b.first_span);
  ASSERT_EQ(a.spans.size(), b.spans.size());
  for (size_t i = 0; i < a.spans.size(); ++i) {
    const SpanAge &s = a.spans[i], &t = b.spans[i];
    EXPECT_EQ(std::tie(s.rows, s.begin_us, s.end_us), std::tie(t.rows, t.begin_us, t.end_us));
  }
  EXPECT_EQ(std::tie(x.resident_bytes, x.weight_bytes, x.kv_bytes, x.activation_bytes),
            std::tie(y.resident_bytes, y.weight_bytes, y.kv_bytes, y.activation_bytes));
}

void expect_equal(const StepMasks& a, const StepMasks& b) {
  EXPECT_EQ(std::tie(a.epoch, a.number, a.part, a.is_last), std::tie(b.epoch, b.number, b.part, b.is_last));
  ASSERT_EQ(a.masks.size(), b.masks.size());
  for (size_t i = 0; i < a.masks.size(); ++i) {
    const RowMask &x = a.masks[i], &y = b.masks[i];
    EXPECT_EQ(std::tie(x.slot, x.generation, x.allowed), std::tie(y.slot, y.generation, y.allowed));
  }
}

void expect_equal(const Assignment& a, const Assignment& b) {
  EXPECT_EQ(std::tie(a.replica, a.sizes.tp, a.sizes.pp, a.ranks, a.ranks_on_host),
            std::tie(b.replica, b.sizes.tp, b.sizes.pp, b.ranks, b.ranks_on_host));
}

void expect_equal(const StartOrder& a, const StartOrder& b) {
  EXPECT_EQ(a.num_blocks, b.num_blocks);
  EXPECT_EQ(a.end_tokens, b.end_tokens);
}

// --- what must hold of every message ---

struct MicroBatchWire {
  static MicroBatch make(Maker& maker) { return maker.micro_batch(); }
  static MicroBatch decode(const Bytes& bytes) { return decode_micro_batch(bytes); }
};
struct StepResultWire {
  static StepResult make(Maker& maker) { return maker.step_result(); }
  static StepResult decode(const Bytes& bytes) { return decode_step_result(bytes); }
};
struct RankStatusWire {
  static RankStatus make(Maker& maker) { return maker.rank_status(); }
  static RankStatus decode(const Bytes& bytes) { return decode_rank_status(bytes); }
};
struct AssignmentWire {
  static Assignment make(Maker& maker) { return maker.assignment(); }
  static Assignment decode(const Bytes& bytes) { return decode_assignment(bytes, Maker::kNumRanks); }
};
struct StartOrderWire {
  static StartOrder make(Maker& maker) { return maker.start_order(); }
  static StartOrder decode(const Bytes& bytes) { return decode_start_order(bytes); }
};

struct StepMasksWire {
  static StepMasks make(Maker& maker) { return maker.step_masks(); }
  static StepMasks decode(const Bytes& bytes) { return decode_step_masks(bytes, Maker::kMaskWidth); }
};

template <typename Wire>
class Messages : public ::testing::Test {};
using Wires =
    ::testing::Types<MicroBatchWire, StepResultWire, RankStatusWire, AssignmentWire, StartOrderWire, StepMasksWire>;
TYPED_TEST_SUITE(Messages, Wires);

TYPED_TEST(Messages, ComeBackAsTheyWereSent) {
  for (uint64_t seed = 0; seed < 500 && !this->HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Maker maker(seed);
    const auto sent = TypeParam::make(maker);
    const Bytes bytes = encode(sent);
    const auto received = TypeParam::decode(bytes);
    expect_equal(received, sent);
    EXPECT_EQ(encode(received), bytes);
  }
}

TYPED_TEST(Messages, CutAnywhereOrWithBytesBehindAreErrors) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Maker maker(seed);
    Bytes bytes = encode(TypeParam::make(maker));
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_THROW(TypeParam::decode(Bytes(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size))), WireError)
          << size << " of " << bytes.size();
    }
    bytes.push_back(std::byte{0});
    EXPECT_THROW(TypeParam::decode(bytes), WireError);
  }
}

TYPED_TEST(Messages, MutatedAreErrorsOrValuesWithoutLargeAllocations) {
  int num_errors = 0, num_values = 0;
  for (uint64_t seed = 0; seed < kNumMutations; ++seed) {
    Maker maker(seed);
    const Bytes bytes = maker.mutate(encode(TypeParam::make(maker)));
    largest_allocation = 0;
    try {
      const auto value = TypeParam::decode(bytes);
      ++num_values;
      ASSERT_LE(largest_allocation, 1024 + 32 * bytes.size()) << "seed " << seed;
      const Bytes again = encode(value);
      ASSERT_EQ(again.size(), bytes.size()) << "a value that is not what the bytes say, seed " << seed;
      ASSERT_EQ(encode(TypeParam::decode(again)), again) << "seed " << seed;
    } catch (const WireError&) {
      ++num_errors;
      ASSERT_LE(largest_allocation, 1024 + 32 * bytes.size()) << "seed " << seed;
    }
  }
  EXPECT_GT(num_errors, kNumMutations / 10);
  EXPECT_GT(num_values, kNumMutations / 100);
}

TYPED_TEST(Messages, NoiseIsAnErrorOrAValue) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < kNumMutations; ++trial) {
    Bytes bytes(random() % 200);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    largest_allocation = 0;
    try {
      TypeParam::decode(bytes);
    } catch (const WireError&) {
    }
    ASSERT_LE(largest_allocation, 1024 + 32 * bytes.size()) << "trial " << trial;
  }
}

TEST(MessageRanges, AssignmentsThatCannotBeAreErrors) {
  const Assignment good{.replica = 1, .sizes = {.dp = 1, .tp = 2, .pp = 2}, .ranks = {3, 0, 2, 7}, .ranks_on_host = 4};
  EXPECT_EQ(decode_assignment(encode(good), 8).index_of(2), 2);
  EXPECT_EQ(good.index_of(1), -1);
  EXPECT_THROW(decode_assignment(encode(good), 7), WireError) << "rank 7 of 7";
  const auto refuses = [&](const char* what, auto change) {
    Assignment bad = good;
    change(bad);
    EXPECT_THROW(decode_assignment(encode(bad), 8), WireError) << what;
  };
  refuses("a rank twice", [](Assignment& a) { a.ranks[0] = 7; });
  refuses("a rank below 0", [](Assignment& a) { a.ranks[0] = -1; });
  refuses("a rank too few", [](Assignment& a) { a.ranks.pop_back(); });
  refuses("no parts", [](Assignment& a) { a.sizes.tp = 0; });
  refuses("sizes whose product overflows", [](Assignment& a) { a.sizes.tp = a.sizes.pp = 1 << 30; });
  refuses("a replica below 0", [](Assignment& a) { a.replica = -1; });
  refuses("nobody on the host", [](Assignment& a) { a.ranks_on_host = 0; });
  refuses("more on the host than there are", [](Assignment& a) { a.ranks_on_host = 9; });
}

TEST(MessageRanges, RowsThatDisagreeWithThePlanAreErrors) {
  MicroBatch good;
  good.rows = {{.slot = 1, .num_tokens = 3, .num_new_blocks = 1, .targets_from = 1, .num_targets = 2}};
  good.tokens = {1, 2, 3};
  good.new_blocks = {0};
  good.targets = {2, 3};
  decode_micro_batch(encode(good));
  const auto refuses = [&](const char* what, auto change) {
    MicroBatch bad = good;
    change(bad);
    EXPECT_THROW(decode_micro_batch(encode(bad)), WireError) << what;
  };
  constexpr int kMost = std::numeric_limits<int>::max();
  refuses("a token too few", [](MicroBatch& b) { b.tokens.pop_back(); });
  refuses("a token too many", [](MicroBatch& b) { b.tokens.push_back(4); });
  refuses("a block too many", [](MicroBatch& b) { b.new_blocks.push_back(4); });
  refuses("a target too few", [](MicroBatch& b) { b.targets.pop_back(); });
  refuses("a row without tokens", [](MicroBatch& b) {
    b.rows[0] = {.num_tokens = 0}, b.tokens.clear(), b.new_blocks.clear(), b.targets.clear();
  });
  refuses("negative tokens",
          [](MicroBatch& b) { b.rows.push_back({.num_tokens = -3}), b.rows.push_back({.num_tokens = 3}); });
  refuses("negative blocks", [](MicroBatch& b) { b.rows[0].num_new_blocks = -1; });
  refuses("a negative position", [](MicroBatch& b) { b.rows[0].first_position = -1; });
  refuses("a position beyond any context",
          [](MicroBatch& b) { b.rows[0].first_position = static_cast<int>(kMaxModelLen) + 1; });
  refuses("targets behind the tokens", [](MicroBatch& b) { b.rows[0].targets_from = 2; });
  refuses("targets whose end overflows", [](MicroBatch& b) { b.rows[0].targets_from = kMost; });
  refuses("a sample and a vector", [](MicroBatch& b) { b.rows[0].sample = b.rows[0].pool = true; });
  refuses("a sample and a sum", [](MicroBatch& b) { b.rows[0].sample = b.rows[0].sum = true; });
  refuses("a negative choice", [](MicroBatch& b) { b.registrations.push_back({.choice = -1}); });
  refuses("a negative prompt", [](MicroBatch& b) { b.registrations.push_back({.num_prompt = -1}); });
}

TEST(MessageRanges, AnOrderWithoutBlocksAndAnUnknownPhaseAreErrors) {
  EXPECT_THROW(decode_start_order(encode(StartOrder{.num_blocks = 0})), WireError);
  EXPECT_THROW(decode_start_order(encode(StartOrder{.num_blocks = -1})), WireError);
  EXPECT_THROW(decode_rank_status(encode(RankStatus{.phase = static_cast<RankPhase>(0)})), WireError);
  EXPECT_THROW(decode_rank_status(encode(RankStatus{.phase = static_cast<RankPhase>(5)})), WireError);
}

TEST(MessageRanges, StatusesWithMeasuresThatCannotBeAreErrors) {
  decode_rank_status(encode(RankStatus{}));
  const auto refuses = [](const char* what, auto change) {
    RankStatus bad;
    change(bad);
    EXPECT_THROW(decode_rank_status(encode(bad)), WireError) << what;
  };
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();
  refuses("negative seconds", [](RankStatus& s) { s.metrics.wait.plan = -1; });
  refuses("no number of bytes", [](RankStatus& s) { s.metrics.work.bytes = kNaN; });
  refuses("endless operations", [](RankStatus& s) { s.metrics.ceiling.operations[3] = kInfinity; });
  refuses("more than all weights", [](RankStatus& s) { s.loaded_share = 1.01; });
  refuses("no share", [](RankStatus& s) { s.loaded_share = kNaN; });
  refuses("an end before the begin", [](RankStatus& s) { s.spans = {{.rows = 1, .begin_us = 1, .end_us = 2}}; });
  refuses("too many spans", [](RankStatus& s) { s.spans.resize(kMaxSpans + 1); });
  Bytes older = encode(RankStatus{});
  older[0] ^= std::byte{1};
  EXPECT_THROW(decode_rank_status(older), WireError);
}

TEST(MessageRanges, MoreTopLogprobsThanAllowedAreAnError) {
  StepResult result;
  result.rows.emplace_back();
  result.rows[0].token.logprob.emplace();
  result.rows[0].token.logprob->top.resize(kMaxLogprobs);
  decode_step_result(encode(result));
  result.rows[0].token.logprob->top.emplace_back();
  EXPECT_THROW(decode_step_result(encode(result)), WireError);
}

TEST(MessageRanges, MasksOfAnotherWidthOrOutOfOrderAreErrors) {
  StepMasks masks{.number = 7, .masks = {}};
  masks.masks.push_back({.slot = 1, .generation = 1, .allowed = TokenMask(100)});
  for (const int count : {3, 100}) {
    for (TokenId token = 100 - count; token < 100; ++token) masks.masks[0].allowed.allow(token);
    const Bytes bytes = encode(masks);
    EXPECT_NO_THROW(decode_step_masks(bytes, 100));
    EXPECT_THROW(decode_step_masks(bytes, 99), WireError);
    if (count == 100) {
      EXPECT_THROW(decode_step_masks(bytes, 200), WireError);
    }
  }
  masks.is_last = false;
  StepMasksInParts parts(7);
  parts.add(masks);
  EXPECT_FALSE(parts.is_whole());
  EXPECT_THROW(parts.add(masks), WireError) << "part 0 twice";
  masks.part = 1;
  masks.is_last = true;
  parts.add(masks);
  EXPECT_TRUE(parts.is_whole());
  EXPECT_EQ(parts.take().size(), 2u);
  StepMasksInParts others(8);
  masks.part = 0;
  EXPECT_THROW(others.add(masks), WireError) << "of another micro-batch";
}

/// A mask that allows nothing is short as bytes, whatever the vocabulary: a message of them must not take all memory.
TEST(MessageRanges, MoreMasksThanAMessageMayHaveAreAnError) {
  constexpr int64_t kVocab = 1 << 18;
  constexpr size_t kMost = kMaxMasksBytes / (kVocab / 8);
  StepMasks masks{.number = 7, .masks = {}};
  for (size_t i = 0; i < kMost; ++i) masks.masks.push_back({.slot = 1, .generation = 1, .allowed = TokenMask(kVocab)});
  EXPECT_EQ(decode_step_masks(encode(masks), kVocab).masks.size(), kMost);
  masks.masks.push_back(masks.masks.back());
  EXPECT_THROW(decode_step_masks(encode(masks), kVocab), WireError);
}

TEST(MessageRanges, ResultRowsWithVectorsThatCannotBeAreErrors) {
  StepResult result;
  result.rows.push_back({.slot = 1, .generation = 1, .pooled = {1.0f, 2.0f, 3.0f}});
  const Bytes good = encode(result);
  EXPECT_EQ(decode_step_result(good).rows.at(0).pooled, result.rows[0].pooled);
  constexpr size_t kBits = 4 + 2 + 4 + 8 + 4 + 4 + 8, kCount = kBits + 1;
  ASSERT_EQ(good[kBits], std::byte{2});
  Bytes bad = good;
  bad[kBits] = std::byte{6};
  EXPECT_THROW(decode_step_result(bad), WireError) << "a bit that means nothing";
  bad = good;
  bad[kCount] = std::byte{0};
  EXPECT_THROW(decode_step_result(bad), WireError) << "a vector without values";
  bad = good;
  bad[kCount + 3] = std::byte{0x7f};
  EXPECT_THROW(decode_step_result(bad), WireError) << "a vector larger than the message";
}

TEST(MessageKinds, APlanIsNotAResult) {
  EXPECT_THROW(decode_step_result(encode(MicroBatch{})), WireError);
  EXPECT_THROW(decode_micro_batch(encode(StepResult{})), WireError);
  Bytes newer = encode(MicroBatch{});
  newer[4] ^= std::byte{1};
  EXPECT_THROW(decode_micro_batch(newer), WireError) << "another version";
}

}  // namespace
}  // namespace echelon
