#include "engine/rank_messages.h"

#include <algorithm>
#include <cmath>

#include "engine/schedule/wire.h"

namespace echelon {
namespace {

constexpr uint8_t kStatusVersion = 3, kAssignmentVersion = 1, kOrderVersion = 1;

void check_version(WireReader& in, uint8_t expected, const char* message) {
  if (in.get<uint8_t>("version") != expected) throw WireError(std::string(message) + " is of another version");
}

/// Every double of a RankMetrics that travels, for writing and for reading.
template <typename Metrics, typename F>
void for_each_double(Metrics& m, F&& f) {
  for (auto* value : {&m.cpu_seconds, &m.busy_seconds, &m.sampling_seconds, &m.wait.plan, &m.wait.activations,
                      &m.wait.send, &m.wait.exchange, &m.load_seconds, &m.work.bytes, &m.ceiling.bytes})
    f(*value);
  for (auto* work : {&m.work, &m.ceiling}) {
    for (auto& value : work->operations) f(value);
  }
}

std::vector<SpanAge> get_spans(WireReader& in) {
  std::vector<SpanAge> spans = in.get_all<SpanAge>("spans");
  if (spans.size() > kMaxSpans) throw WireError("status message has too many spans");
  for (const SpanAge& span : spans) {
    if (span.begin_us < span.end_us) throw WireError("status message has a span that ends before it begins");
  }
  return spans;
}

}  // namespace

std::vector<std::byte> encode(const RankStatus& status) {
  WireWriter out;
  out.put(kStatusVersion);
  out.put(static_cast<uint8_t>(status.phase));
  out.put(status.settings_digest);
  out.put(status.max_blocks);
  out.put(status.host_bytes);
  out.put(status.loaded_share);
  const RankMetrics& m = status.metrics;
  for (const int value : {m.rank, m.dp, m.pp, m.tp}) out.put(value);
  out.put_text(m.host);
  for_each_double(m, [&](double value) { out.put(value); });
  for (const uint64_t value : {m.resident_bytes, m.weight_bytes, m.kv_bytes, m.activation_bytes}) out.put(value);
  out.put(status.first_span);
  out.put_all(std::span(status.spans));
  return out.take();
}

int Assignment::index_of(int rank) const {
  const auto found = std::find(ranks.begin(), ranks.end(), rank);
  return found == ranks.end() ? -1 : static_cast<int>(found - ranks.begin());
}

std::vector<std::byte> encode(const Assignment& assignment) {
  WireWriter out;
  out.put(kAssignmentVersion);
  for (const int32_t value : {assignment.replica, assignment.sizes.tp, assignment.sizes.pp, assignment.ranks_on_host})
    out.put(value);
  out.put_all(std::span(assignment.ranks));
  return out.take();
}

std::vector<std::byte> encode(const StartOrder& order) {
  WireWriter out;
  out.put(kOrderVersion);
  out.put(order.num_blocks);
  out.put_all(std::span(order.end_tokens));
  return out.take();
}

RankStatus decode_rank_status(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  check_version(in, kStatusVersion, "status message");
  RankStatus status;
  const auto phase = in.get<uint8_t>("phase");
  if (phase < 1 || phase > static_cast<uint8_t>(RankPhase::running))
    throw WireError("status message has an unknown phase");
  status.phase = static_cast<RankPhase>(phase);
  status.settings_digest = in.get<uint64_t>("settings digest");
  status.max_blocks = in.get<int64_t>("max_blocks");
  status.host_bytes = in.get<uint64_t>("host bytes");
  status.loaded_share = in.get<double>("loaded share");
  if (!(status.loaded_share >= 0 && status.loaded_share <= 1)) throw WireError("loaded share is not from 0 to 1");
  RankMetrics& m = status.metrics;
  for (int* value : {&m.rank, &m.dp, &m.pp, &m.tp}) *value = in.get<int>("place");
  m.host = in.get_text("host");
  for_each_double(m, [&](double& value) {
    value = in.get<double>("measured");
    if (!(value >= 0 && std::isfinite(value))) throw WireError("status message has a measure that cannot be");
  });
  for (uint64_t* value : {&m.resident_bytes, &m.weight_bytes, &m.kv_bytes, &m.activation_bytes})
    *value = in.get<uint64_t>("bytes");
  status.first_span = in.get<uint64_t>("first span");
  status.spans = get_spans(in);
  in.finish();
  return status;
}

Assignment decode_assignment(std::span<const std::byte> bytes, int num_ranks) {
  WireReader in(bytes);
  check_version(in, kAssignmentVersion, "assignment");
  Assignment assignment;
  for (int32_t* value : {&assignment.replica, &assignment.sizes.tp, &assignment.sizes.pp, &assignment.ranks_on_host})
    *value = in.get<int32_t>("sizes");
  assignment.ranks = in.get_all<int32_t>("ranks");
  in.finish();
  const auto is_count = [&](int32_t value) { return value >= 1 && value <= num_ranks; };
  const LayoutSizes& sizes = assignment.sizes;
  if (assignment.replica < 0 || assignment.replica >= num_ranks || !is_count(sizes.tp) || !is_count(sizes.pp) ||
      !is_count(assignment.ranks_on_host) || int64_t{sizes.tp} * sizes.pp != std::ssize(assignment.ranks))
    throw WireError("assignment has sizes that cannot be");
  std::vector<int32_t> sorted = assignment.ranks;
  std::sort(sorted.begin(), sorted.end());
  if (sorted.front() < 0 || sorted.back() >= num_ranks ||
      std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    throw WireError("assignment has ranks that cannot be");
  return assignment;
}

StartOrder decode_start_order(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  check_version(in, kOrderVersion, "start order");
  StartOrder order{.num_blocks = in.get<int64_t>("num_blocks"), .end_tokens = in.get_all<TokenId>("end tokens")};
  in.finish();
  if (order.num_blocks < 1) throw WireError("start order has no blocks");
  return order;
}

uint64_t settings_digest(const EngineOptions& options) {
  WireWriter out;
  out.put_text(options.model);
  out.put_all(std::span(options.layers_per_stage));
  out.put(options.max_model_len);
  out.put(options.max_num_seqs);
  out.put(options.max_batch_tokens);
  out.put(options.num_kv_blocks);
  out.put(static_cast<int>(options.compute));
  out.put(static_cast<int>(options.kv_type));
  uint64_t digest = 0xcbf29ce484222325u;  // FNV-1a
  for (const std::byte byte : out.take()) digest = (digest ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  return digest;
}

}  // namespace echelon
