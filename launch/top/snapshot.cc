#include "launch/top/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "launch/top/metrics_text.h"

namespace echelon {
namespace {

namespace json = boost::json;

constexpr size_t kMaxTraced = 1 << 16;
constexpr double kMaxCount = 9e18;  // fits uint64_t

[[noreturn]] void fail(const std::string& message) { throw Error(Part::launch, message); }

/// A terminal obeys some bytes: only letters pass.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 256));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

int place_of(const MetricSample& sample, std::string_view label) {
  const std::string_view text = sample.label(label);
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value >= kMaxRanks)
    fail(fmt::format("{} has no {} from 0 to {}", sample.name, label, kMaxRanks - 1));
  return value;
}

double measure(const MetricSample& sample) {
  if (!(sample.value >= 0 && std::isfinite(sample.value)))
    fail(fmt::format("{} is neither 0 nor a positive number", sample.name));
  return sample.value;
}

void read_engine(const MetricSample& sample, EngineMetrics& engine) {
  static const std::map<std::string_view, uint64_t EngineMetrics::*> kCounts = {
      {"vllm:num_requests_running", &EngineMetrics::num_running},
      {"vllm:num_requests_waiting", &EngineMetrics::num_waiting},
      {"vllm:prompt_tokens_total", &EngineMetrics::prompt_tokens},
      {"vllm:generation_tokens_total", &EngineMetrics::generation_tokens},
      {"vllm:prefix_cache_queries_total", &EngineMetrics::prefix_query_tokens},
      {"vllm:prefix_cache_hits_total", &EngineMetrics::prefix_hit_tokens},
      {"echelon_kv_blocks_total", &EngineMetrics::kv_blocks_total},
      {"echelon_kv_blocks_free", &EngineMetrics::kv_blocks_free},
      {"echelon_steps_total", &EngineMetrics::steps},
      {"echelon_plan_bytes_total", &EngineMetrics::plan_bytes},
      {"echelon_micro_batches_in_flight", &EngineMetrics::micro_batches_in_flight},
  };
  if (const auto count = kCounts.find(sample.name); count != kCounts.end())
    engine.*count->second = static_cast<uint64_t>(std::min(measure(sample), kMaxCount));
  if (sample.name == "vllm:kv_cache_usage_perc") engine.kv_usage = std::min(measure(sample), 1.0);
}

/// The number that a sample of a rank is, or null for one that is not shown.
double* number_of(const MetricSample& sample, RankMetrics& rank) {
  static const std::map<std::string_view, double RankMetrics::*> kSeconds = {
      {"echelon_stage_busy_seconds_total", &RankMetrics::busy_seconds},
      {"echelon_stage_sampling_seconds_total", &RankMetrics::sampling_seconds},
      {"echelon_stage_active_seconds_total", &RankMetrics::active_seconds},
      {"echelon_stage_idle_seconds_total", &RankMetrics::idle_seconds},
  };
  static const std::map<std::string_view, double WaitSeconds::*> kCauses = {{"plan", &WaitSeconds::plan},
                                                                            {"activations", &WaitSeconds::activations},
                                                                            {"send", &WaitSeconds::send},
                                                                            {"exchange", &WaitSeconds::exchange}};
  if (const auto found = kSeconds.find(sample.name); found != kSeconds.end()) return &(rank.*found->second);
  if (sample.name == "echelon_stage_bytes_total") return &rank.work.bytes;
  if (sample.name == "echelon_rank_ceiling_bytes_per_second") return &rank.ceiling.bytes;
  if (sample.name == "echelon_stage_wait_seconds_total") {
    const auto cause = kCauses.find(sample.label("cause"));
    return cause == kCauses.end() ? nullptr : &(rank.wait.*cause->second);
  }
  const bool work = sample.name == "echelon_stage_operations_total";
  if (!work && sample.name != "echelon_rank_ceiling_operations_per_second") return nullptr;
  const auto kind = std::find(kOperationKinds.begin(), kOperationKinds.end(), sample.label("kind"));
  if (kind == kOperationKinds.end()) return nullptr;
  return &(work ? rank.work : rank.ceiling).operations[static_cast<size_t>(kind - kOperationKinds.begin())];
}

/// Ranks 0, 1, .. with every place of a layout once.
void check_ranks(Snapshot& snapshot) {
  std::vector<RankMetrics>& ranks = snapshot.engine.ranks;
  if (ranks.empty()) fail("these are no metrics of Echelon: none of a rank");
  std::set<std::array<int, 3>> places;
  for (const RankMetrics& rank : ranks) {
    snapshot.num_dp = std::max(snapshot.num_dp, rank.dp + 1);
    snapshot.num_pp = std::max(snapshot.num_pp, rank.pp + 1);
    snapshot.num_tp = std::max(snapshot.num_tp, rank.tp + 1);
    places.insert({rank.dp, rank.pp, rank.tp});
  }
  const int64_t num_places = int64_t{snapshot.num_dp} * snapshot.num_pp * snapshot.num_tp;
  const auto num_ranks = static_cast<int64_t>(ranks.size());
  if (num_places != num_ranks || static_cast<int64_t>(places.size()) != num_ranks || ranks.back().rank + 1 != num_ranks)
    fail("the ranks of these metrics make no layout");
}

double age(const json::value& value) {
  const double seconds = value.to_number<double>();
  if (!std::isfinite(seconds)) fail("a time of the pipeline is not finite");
  return seconds;
}

TracedMicroBatch micro_batch(const json::value& value, const Snapshot& snapshot) {
  TracedMicroBatch batch{.replica = value.at("replica").to_number<int>(),
                         .number = value.at("number").to_number<uint64_t>(),
                         .rows = value.at("rows").to_number<int>(),
                         .stages = {}};
  const json::array& stages = value.at("stages").as_array();
  if (batch.replica < 0 || batch.replica >= snapshot.num_dp || batch.rows < 0 ||
      static_cast<int>(stages.size()) != snapshot.num_pp)
    fail("a micro-batch of the pipeline does not fit the layout");
  for (const json::value& span : stages) {
    batch.stages.push_back({.begin_age_s = age(span.at(0)), .end_age_s = age(span.at(1))});
    if (batch.stages.back().begin_age_s < batch.stages.back().end_age_s) fail("a micro-batch ends before it begins");
  }
  return batch;
}

}  // namespace

Snapshot parse_snapshot(std::string_view metrics) {
  Snapshot snapshot;
  std::map<int, RankMetrics> ranks;
  for (const MetricSample& sample : parse_metrics(metrics)) {
    if (snapshot.model.empty()) snapshot.model = printable(sample.label("model_name"));
    read_engine(sample, snapshot.engine);
    RankMetrics named;
    if (number_of(sample, named) == nullptr) continue;
    const int number = place_of(sample, "rank");
    named = {.rank = number, .dp = place_of(sample, "dp"), .pp = place_of(sample, "pp"), .tp = place_of(sample, "tp")};
    named.host = printable(sample.label("host"));
    RankMetrics& rank = ranks.try_emplace(number, named).first->second;
    *number_of(sample, rank) = measure(sample);
  }
  for (auto& [number, rank] : ranks) snapshot.engine.ranks.push_back(std::move(rank));
  check_ranks(snapshot);
  return snapshot;
}

std::vector<TracedMicroBatch> parse_trace(std::string_view text, const Snapshot& snapshot) {
  try {
    const json::value body = json::parse(json::string_view(text.data(), text.size()));
    const json::array& batches = body.at("micro_batches").as_array();
    if (batches.size() > kMaxTraced) fail("the pipeline has too many micro-batches");
    std::vector<TracedMicroBatch> trace;
    for (const json::value& value : batches) trace.push_back(micro_batch(value, snapshot));
    return trace;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {  // of the JSON library: syntax, kinds, ranges
    fail(fmt::format("this is no pipeline of Echelon: {}", error.what()));
  }
}

}  // namespace echelon
