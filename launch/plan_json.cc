// The plan as JSON: bytes, seconds, tokens; names as in plan_text().
#include <boost/json.hpp>

#include "kernels/base/limits.h"
#include "launch/plan_report.h"

namespace echelon {
namespace {

namespace json = boost::json;

json::array json_of(const RowRate& rate) {
  json::array rates;
  for (const int rows : RowRate::kRows) rates.push_back({{"rows", rows}, {"per_s", rate.at(rows)}});
  return rates;
}

json::object json_of(const Ceiling& ceiling) {
  return {{"memory_bytes_per_s", ceiling.bytes_per_s},
          {"int8_operations", json_of(ceiling.product_rate(Compute::int8))},
          {"bf16_operations", json_of(ceiling.product_rate(Compute::bf16))},
          {"f32_operations", json_of(ceiling.product_rate(Compute::f32))},
          {"attention_operations_per_s", ceiling.attention},
          {"decode_attention_operations_per_s", ceiling.decode_attention},
          {"prompt_rows_per_s", ceiling.prompt_rows_per_s},
          {"decode_rows_per_s", ceiling.decode_rows_per_s}};
}

json::object json_of(const LinkRate& link) {
  return {{"bytes_per_s", link.bytes_per_s}, {"latency_s", link.latency_s}};
}

json::object json_of(const Device& device) {
  return {{"name", device.name},
          {"description", device.description},
          {"source", device.source},
          {"rank", json_of(device.rank)},
          {"host", device.host.bytes_per_s > 0 ? json::value(json_of(device.host)) : json::value(nullptr)},
          {"within_host", json_of(device.within_host)},
          {"between_hosts", json_of(device.between_hosts)}};
}

json::object json_of(const LayoutSizes& sizes) { return {{"tp", sizes.tp}, {"pp", sizes.pp}, {"dp", sizes.dp}}; }

json::object json_of(const RankBudget& rank, const RankHosts& hosts) {
  return {{"rank", rank.rank},
          {"host", hosts.host_of_rank[static_cast<size_t>(rank.rank)]},
          {"stage", rank.place.pp},
          {"part", rank.place.tp},
          {"replica", rank.place.dp},
          {"memory_bytes", rank.rank_bytes},
          {"weight_bytes", rank.memory.weights},
          {"kv_bytes", rank.kv_cache},
          {"activation_bytes", rank.memory.activations},
          {"communication_bytes", rank.communication},
          {"reserve_bytes", rank.reserve()}};
}

json::object json_of(const Forecast& forecast) {
  const StageCost& stage = forecast.slowest_stage;
  return {{"concurrency", forecast.concurrency},
          {"ttft_s", forecast.ttft},
          {"tpot_s", forecast.tpot},
          {"output_tokens_per_s", forecast.output_tokens_per_s},
          {"bound", to_string(stage.bound())},
          {"slowest_stage",
           {{"memory_s", stage.memory},
            {"compute_s", stage.compute},
            {"overlapped_s", stage.overlapped},
            {"link_s", stage.link},
            {"latency_s", stage.latency}}}};
}

json::object json_of(const Traffic& traffic) {
  return {{"bytes", traffic.bytes}, {"exchanges", traffic.num_exchanges}};
}

json::object json_of(const LayoutPlan& plan, const RankHosts& hosts) {
  json::object out = json_of(plan.capacity.sizes);
  out["fits"] = plan.capacity.fits();
  if (!plan.capacity.fits()) out["refusal"] = plan.capacity.refusal;
  out["layers"] = json::value_from(plan.capacity.layers);
  out["kv_blocks"] = plan.capacity.num_blocks;
  out["kv_tokens"] = plan.capacity.num_blocks * kBlockTokens;
  json::array ranks;
  for (const RankBudget& rank : plan.capacity.ranks) ranks.push_back(json_of(rank, hosts));
  out["ranks"] = std::move(ranks);
  if (!plan.capacity.fits()) return out;
  out["largest_batch"] = plan.max_batch;
  out["parts_per_token"] = json_of(plan.parts_per_token);
  out["stages_per_token"] = json_of(plan.border_per_token);
  out["one_stream"] = json_of(plan.one_stream);
  out["full_load"] = json_of(plan.full_load);
  return out;
}

}  // namespace

std::string plan_json(const PlanReport& report) {
  json::object out{{"model", report.model}, {"family", report.family}, {"device", json_of(report.device)}};
  out["load"] = {{"concurrency", report.load.concurrency},
                 {"prompt_tokens", report.load.prompt_tokens},
                 {"output_tokens", report.load.output_tokens},
                 {"max_num_seqs", report.max_num_seqs}};
  json::array layouts;
  for (const LayoutPlan& plan : report.layouts) layouts.push_back(json_of(plan, report.hosts));
  out["layouts"] = std::move(layouts);
  out["served_by_default"] = json_of(report.served_by_default);
  if (report.best().capacity.fits()) {
    const StartLines lines = start_lines(report);
    out["start"] = {{"run", lines.run}, {"mpirun", lines.mpirun}, {"srun", lines.srun}};
    if (report.cost_per_rank_hour > 0) out["cost_per_million_output_tokens"] = cost_per_million_tokens(report);
  }
  return json::serialize(out) + "\n";
}

}  // namespace echelon
