#include "engine/planner/plan.h"

#include <algorithm>
#include <cmath>

namespace echelon {
namespace {

/// Speeds nearer than this to each other count as equal: the model is not more exact.
constexpr double kEqualShare = 0.02;
/// As the scheduler cuts prompts where stages overlap: no smaller.
constexpr int64_t kSmallestChunk = 32;

/// The stages of the first replica, each with its parts.
class Replica {
 public:
  Replica(const ModelFiles& model, const EngineOptions& options, const Device& device, const RankHosts& hosts,
          const LayoutCapacity& capacity)
      : options_(options), device_(device), hosts_(hosts), layout_(capacity.sizes, hosts.host_of_rank) {
    const auto backend = backend_for_sizes(options);
    for (int pp = 0; pp < capacity.sizes.pp; ++pp) {
      for (int tp = 0; tp < capacity.sizes.tp; ++tp) {
        const Shard shard = make_shard(model.spec, capacity.sizes, {.dp = 0, .pp = pp, .tp = tp}, capacity.layers);
        profiles_.push_back(stage_profile(model, shard, *backend, options));
      }
    }
  }

  int num_stages() const { return layout_.sizes().pp; }

  /// Micro-batches that run at a time with so many sequences.
  int num_in_flight(int sequences) const {
    return num_stages() == 1 ? 1 : std::clamp(sequences, 1, micro_batches_in_flight(options_, num_stages()));
  }

  /// Each stage's slowest part. in_flight: micro-batches; replicas: that have work.
  std::vector<StageCost> cost(std::span<const RowGroup> rows, int in_flight, int replicas) const {
    std::vector<StageCost> stages;
    for (int pp = 0; pp < num_stages(); ++pp) {
      StageCost slowest;
      for (int tp = 0; tp < layout_.sizes().tp; ++tp) {
        const Surroundings around = surroundings({.dp = 0, .pp = pp, .tp = tp}, in_flight, replicas);
        const StageCost each = stage_cost(profile(pp, tp), rows, device_, around);
        if (each.total() > slowest.total()) slowest = each;
      }
      stages.push_back(slowest);
    }
    return stages;
  }

  void add_traffic(std::span<const RowGroup> rows, LayoutPlan& plan) const {
    const auto add = [](Traffic& to, const Traffic& from) {
      to.bytes += from.bytes;
      to.num_exchanges += from.num_exchanges;
    };
    for (const StageProfile& profile : profiles_) {
      const StageTraffic traffic = stage_traffic(profile, rows);
      add(plan.parts_per_token, traffic.parts);
      add(plan.border_per_token, traffic.border);
    }
  }

  /// Chunks of a prompt, in order, beside the decodes of `sequences` others.
  std::vector<std::vector<RowGroup>> prompt_batches(const Load& load, int sequences) const {
    std::vector<std::vector<RowGroup>> batches;
    const RowGroup decodes = decode_rows(load, sequences, num_in_flight(sequences + 1));
    const int64_t most = std::max<int64_t>(options_.max_batch_tokens - decodes.count, 1);
    for (int64_t done = 0; done < load.prompt_tokens;) {
      const int64_t left = load.prompt_tokens - done;
      int64_t chunk = most;
      if (num_stages() > 1) {
        const int64_t share = (left + 2 * num_stages() - 1) / (2 * num_stages());
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

  /// One micro-batch's decodes of so many sequences, in the middle of their output.
  static RowGroup decode_rows(const Load& load, int sequences, int in_flight) {
    return {.count = (sequences + in_flight - 1) / in_flight,
            .num_rows = 1,
            .first_position = load.prompt_tokens + load.output_tokens / 2,
            .sampled = true};
  }

 private:
  const StageProfile& profile(int pp, int tp) const {
    return profiles_[static_cast<size_t>(pp * layout_.sizes().tp + tp)];
  }

  int host(int rank) const { return hosts_.host_of_rank[static_cast<size_t>(rank)]; }

  Surroundings surroundings(Place place, int in_flight, int replicas) const {
    const int me = layout_.rank_at(place);
    const double of_other_stage = num_stages() > 1 ? std::min((in_flight - 1.0) / (num_stages() - 1.0), 1.0) : 0;
    const double of_other_replica = std::min(static_cast<double>(in_flight) / num_stages(), 1.0);
    Surroundings around{.parts_on_one_host = true, .previous_on_host = true, .busy_on_host = 0};
    for (int rank = 0; rank < layout_.num_ranks(); ++rank) {
      const Place other = layout_.place(rank);
      const bool my_replica = other.dp == place.dp, my_stage = my_replica && other.pp == place.pp;
      if (host(rank) != host(me)) {
        if (my_stage) around.parts_on_one_host = false;
        continue;
      }
      if (other.dp < replicas) around.busy_on_host += my_stage ? 1 : my_replica ? of_other_stage : of_other_replica;
    }
    if (place.pp > 0) {
      const int previous = layout_.rank_at({.dp = place.dp, .pp = place.pp - 1, .tp = place.tp});
      around.previous_on_host = host(previous) == host(me);
    }
    return around;
  }

  const EngineOptions& options_;
  const Device& device_;
  const RankHosts& hosts_;
  const Layout layout_;
  std::vector<StageProfile> profiles_;
};

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
Forecast forecast(const Replica& replica, const Load& load, int concurrency, int num_replicas) {
  const int replicas = std::min(concurrency, num_replicas);
  const int sequences = (concurrency + replicas - 1) / replicas, in_flight = replica.num_in_flight(sequences);
  const RowGroup decodes = Replica::decode_rows(load, sequences, in_flight);
  const std::vector<StageCost> stages = replica.cost(std::span(&decodes, 1), in_flight, replicas);
  const StageCost decode = slowest(stages);
  const double round = std::max(sum(stages), in_flight * decode.total());

  Forecast forecast{.concurrency = concurrency, .slowest_stage = decode};
  double prompt = 0;  // what a prompt adds on the slowest stage
  for (const std::vector<RowGroup>& rows : replica.prompt_batches(load, sequences - 1)) {
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
  plan.max_batch = plan.capacity.max_sequences(load.sequence_tokens(), options.max_num_seqs);
  const Replica replica(model, options, device, hosts, plan.capacity);
  const RowGroup token = Replica::decode_rows(load, 1, 1);
  replica.add_traffic(std::span(&token, 1), plan);
  const int wanted = load.concurrency > 0 ? load.concurrency : options.max_num_seqs;
  plan.one_stream = forecast(replica, load, 1, sizes.dp);
  plan.full_load = forecast(replica, load, static_cast<int>(std::min<int64_t>(wanted, plan.max_batch)), sizes.dp);
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
