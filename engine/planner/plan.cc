#include "engine/planner/plan.h"

#include <algorithm>
#include <cmath>

#include "engine/planner/replica_cost.h"

namespace echelon {
namespace {

/// Speeds nearer than this to each other count as equal: the model is not more exact.
constexpr double kEqualShare = 0.02;
/// As the scheduler cuts prompts where stages overlap: no smaller.
constexpr int64_t kSmallestChunk = 32;

/// Micro-batches that run at a time with so many sequences.
int num_in_flight(const EngineOptions& options, const ReplicaCost& replica, int sequences) {
  const int stages = replica.num_stages();
  return stages == 1 ? 1 : std::clamp(sequences, 1, micro_batches_in_flight(options, stages));
}

/// One micro-batch's decodes of so many sequences, in the middle of their output.
RowGroup decode_rows(const Load& load, int sequences, int in_flight) {
  return {.count = (sequences + in_flight - 1) / in_flight,
          .num_rows = 1,
          .first_position = load.prompt_tokens + load.output_tokens / 2,
          .sampled = true};
}

/// Bytes of all ranks; exchanges that follow one another, so those of one part of each stage.
void add_traffic(const ReplicaCost& replica, std::span<const RowGroup> rows, LayoutPlan& plan) {
  for (const StageProfile& profile : replica.profiles()) {
    const StageTraffic traffic = stage_traffic(profile, rows);
    plan.parts_per_token.bytes += traffic.parts.bytes;
    plan.border_per_token.bytes += traffic.border.bytes;
    if (profile.shard.place.tp > 0) continue;
    plan.parts_per_token.num_exchanges += traffic.parts.num_exchanges;
    plan.border_per_token.num_exchanges += traffic.border.num_exchanges;
  }
}

/// Chunks of a prompt, in order, beside the decodes of `sequences` others.
std::vector<std::vector<RowGroup>> prompt_batches(const EngineOptions& options, const ReplicaCost& replica,
                                                  const Load& load, int sequences) {
  const int stages = replica.num_stages();
  std::vector<std::vector<RowGroup>> batches;
  const RowGroup decodes = decode_rows(load, sequences, num_in_flight(options, replica, sequences + 1));
  const int64_t most = std::max<int64_t>(options.max_batch_tokens - decodes.count, 1);
  for (int64_t done = 0; done < load.prompt_tokens;) {
    const int64_t left = load.prompt_tokens - done;
    int64_t chunk = most;
    if (stages > 1) {
      const int64_t share = (left + 2 * stages - 1) / (2 * stages);
      chunk = std::clamp(share, std::min(kSmallestChunk, most), most);
    }
    chunk = std::min(chunk, left);
    std::vector<RowGroup> rows{{.count = 1, .num_rows = chunk, .first_position = done, .sampled = chunk == left}};
    if (decodes.count > 0) rows.push_back(decodes);
    batches.push_back(std::move(rows));
    done += chunk;
  }
  return batches;
}

double sum(const std::vector<StageCost>& stages) {
  double total = 0;
  for (const StageCost& stage : stages) total += stage.total();
  return total;
}

const StageCost& slowest(const std::vector<StageCost>& stages) {
  return *std::max_element(stages.begin(), stages.end(),
                           [](const StageCost& a, const StageCost& b) { return a.total() < b.total(); });
}

/// A sequence gets a token each time all micro-batches have passed the slowest stage, and not before its own has passed
/// all stages. Each of the replica's sequences brings a prompt, which takes time from the others' tokens.
Forecast forecast(const EngineOptions& options, const ReplicaCost& replica, const Load& load, int concurrency,
                  int num_replicas) {
  const int replicas = std::min(concurrency, num_replicas);
  const int sequences = (concurrency + replicas - 1) / replicas, in_flight = num_in_flight(options, replica, sequences);
  const RowGroup decodes = decode_rows(load, sequences, in_flight);
  const std::vector<StageCost> stages = replica.cost(std::span(&decodes, 1), in_flight, replicas);
  const StageCost decode = slowest(stages);
  const double round = std::max(sum(stages), in_flight * decode.total());

  Forecast forecast{.concurrency = concurrency, .slowest_stage = decode};
  double prompt = 0;  // what a prompt adds on the slowest stage
  for (const std::vector<RowGroup>& rows : prompt_batches(options, replica, load, sequences - 1)) {
    const int overlapping = replica.num_stages();
    const std::vector<StageCost> each = replica.cost(rows, overlapping, replicas);
    forecast.ttft += forecast.ttft == 0 ? sum(each) : slowest(each).total();
    prompt += slowest(each).total() - (sequences > 1 ? decode.total() : 0);
  }
  prompt = std::max(prompt, 0.0);
  const auto outputs = static_cast<double>(load.output_tokens);
  forecast.tpot = round + (sequences - 1) * prompt / outputs;
  forecast.output_tokens_per_s = concurrency / (round + sequences * prompt / outputs);
  return forecast;
}

bool is_better(const LayoutPlan& a, const LayoutPlan& b) {
  if (a.capacity.fits() != b.capacity.fits()) return a.capacity.fits();
  return a.full_load.output_tokens_per_s > b.full_load.output_tokens_per_s;
}

}  // namespace

LayoutPlan plan_layout(const ModelFiles& model, const EngineOptions& options, const Device& device,
                       const RankHosts& hosts, const Load& load, LayoutSizes sizes) {
  const auto backend = backend_for_sizes(options);
  LayoutPlan plan{.capacity = layout_capacity(model, options, *backend, hosts, sizes)};
  if (!plan.capacity.fits()) return plan;
  plan.max_batch = plan.capacity.max_sequences(load.sequence_tokens());
  const ReplicaCost replica(model, options, device, hosts, plan.capacity);
  const RowGroup token = decode_rows(load, 1, 1);
  add_traffic(replica, std::span(&token, 1), plan);
  const int64_t wanted = load.concurrency > 0 ? load.concurrency : options.max_num_seqs;
  const int64_t run = std::min({wanted, plan.max_batch, int64_t{options.max_num_seqs} * sizes.dp});
  plan.one_stream = forecast(options, replica, load, 1, sizes.dp);
  plan.full_load = forecast(options, replica, load, static_cast<int>(run), sizes.dp);
  return plan;
}

std::vector<LayoutPlan> plan_layouts(const ModelFiles& model, const EngineOptions& options, const Device& device,
                                     const RankHosts& hosts, const Load& load, LayoutSizes wanted) {
  std::vector<LayoutPlan> plans;
  for (const LayoutSizes& sizes : possible_layouts(wanted, hosts.num_ranks()))
    plans.push_back(plan_layout(model, options, device, hosts, load, sizes));
  std::stable_sort(plans.begin(), plans.end(), is_better);
  // Among the first that are as good as equal, the best for a lone stream goes to the front.
  const double enough = plans.front().full_load.output_tokens_per_s * (1 - kEqualShare);
  const auto equals_end = std::find_if(plans.begin(), plans.end(), [&](const LayoutPlan& plan) {
    return !plan.capacity.fits() || plan.full_load.output_tokens_per_s < enough;
  });
  const auto best = std::min_element(plans.begin(), equals_end, [](const LayoutPlan& a, const LayoutPlan& b) {
    return a.one_stream.tpot < b.one_stream.tpot;
  });
  if (best != equals_end) std::rotate(plans.begin(), best, best + 1);
  return plans;
}

}  // namespace echelon
