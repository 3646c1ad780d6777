#include "launch/plan_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr double kMillion = 1e6, kSecondsPerHour = 3600;

std::string size(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; std::abs(bytes) >= 1024 && unit < 4; ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : bytes < 100 ? 1 : 0, kUnits[unit]);
}

std::string rate(double per_second) {
  constexpr const char* kUnits[] = {"", " k", " M", " G", " T", " P"};
  int unit = 0;
  for (; per_second >= 1000 && unit < 5; ++unit) per_second /= 1000;
  return fmt::format("{:.3g}{}", per_second, kUnits[unit]);
}

std::string link(const LinkRate& link) {
  return fmt::format("{}B/s and {:.1f} us", rate(link.bytes_per_s), link.latency_s * kMillion);
}

std::string ceiling(const Ceiling& ceiling) {
  const auto products = [&](Compute compute) {
    const RowRate& each = ceiling.product_rate(compute);
    return each.at(1) == each.most() ? rate(each.most()) : rate(each.at(1)) + " to " + rate(each.most());
  };
  const std::string decodes =
      ceiling.decode_attention == ceiling.attention ? "" : rate(ceiling.decode_attention) + " to ";
  return fmt::format("memory {}B/s; operations/s of products {} int8, {} bf16, {} f32, of attention {}{}",
                     rate(ceiling.bytes_per_s), products(Compute::int8), products(Compute::bf16),
                     products(Compute::f32), decodes, rate(ceiling.attention));
}

std::string name_of(const LayoutSizes& sizes) {
  return fmt::format("tp {} x pp {} x dp {}", sizes.tp, sizes.pp, sizes.dp);
}

std::string device_text(const PlanReport& report) {
  const Device& device = report.device;
  std::string out = fmt::format("device    {} ({})\n", device.description, device.source);
  out += fmt::format("          a rank: {}\n", ceiling(device.rank));
  if (device.host.bytes_per_s > 0) out += fmt::format("          a host: {}\n", ceiling(device.host));
  out += fmt::format("          links: {} within a host, {} between hosts\n", link(device.within_host),
                     link(device.between_hosts));
  return out;
}

std::string table_text(const PlanReport& report) {
  std::string out =
      fmt::format("\n  tp  pp  dp   KV tokens  largest batch  tokens/s  TPOT ms  TTFT ms  bound by   ({} streams)\n",
                  report.load.concurrency);
  for (const LayoutPlan& plan : report.layouts) {
    const LayoutSizes& sizes = plan.capacity.sizes;
    out += fmt::format("  {:>2}  {:>2}  {:>2}", sizes.tp, sizes.pp, sizes.dp);
    if (!plan.capacity.fits()) {
      out += fmt::format("   does not fit: {}\n", plan.capacity.refusal);
      continue;
    }
    const Forecast& full = plan.full_load;
    out += fmt::format("  {:>10}  {:>13}  {:>8.0f}  {:>7.2f}  {:>7.1f}  {}\n",
                       plan.capacity.num_blocks * kBlockTokens * sizes.dp, plan.max_batch, full.output_tokens_per_s,
                       full.tpot * 1e3, full.ttft * 1e3, to_string(full.slowest_stage.bound()));
  }
  return out;
}

std::string range(int first, int last) {
  return first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
}

/// Ranks of the first replica; neighbours in a stage with the same bytes share a line.
std::string ranks_text(const LayoutPlan& plan, const RankHosts& hosts) {
  std::string out =
      "   ranks  host  stage  parts    weights   KV cache  activations  communication    reserve        of\n";
  const std::vector<RankBudget>& ranks = plan.capacity.ranks;
  const auto host = [&](const RankBudget& rank) { return hosts.host_of_rank[static_cast<size_t>(rank.rank)]; };
  const auto alike = [&](const RankBudget& a, const RankBudget& b) {
    return host(a) == host(b) && a.place.dp == b.place.dp && a.place.pp == b.place.pp &&
           a.memory.weights == b.memory.weights && a.memory.activations == b.memory.activations &&
           a.kv_cache == b.kv_cache && a.communication == b.communication && a.rank_bytes == b.rank_bytes;
  };
  for (size_t first = 0, next = 0; first < ranks.size(); first = next) {
    while (next < ranks.size() && alike(ranks[first], ranks[next])) ++next;
    const RankBudget &from = ranks[first], &to = ranks[next - 1];
    if (from.place.dp > 0) continue;
    out +=
        fmt::format("  {:>6}  {:>4}  {:>5}  {:>5}  {:>9}  {:>9}  {:>11}  {:>13}  {:>9}  {:>8}\n",
                    range(from.rank, to.rank), host(from), from.place.pp, range(from.place.tp, to.place.tp),
                    size(static_cast<double>(from.memory.weights)), size(static_cast<double>(from.kv_cache)),
                    size(static_cast<double>(from.memory.activations)), size(static_cast<double>(from.communication)),
                    size(static_cast<double>(from.reserve())), size(static_cast<double>(from.rank_bytes)));
  }
  if (plan.capacity.sizes.dp > 1) out += fmt::format("  and as many for each of {} replicas\n", plan.capacity.sizes.dp);
  return out;
}

std::string forecast_text(const std::string& title, const Forecast& forecast) {
  const StageCost& stage = forecast.slowest_stage;
  return fmt::format(
      "  {:<14} TTFT {:.1f} ms, TPOT {:.2f} ms, {:.0f} tokens/s at best; bound by {} (slowest stage: memory {:.2f} and "
      "compute {:.2f}, {:.2f} at the same time, links {:.2f}, latency {:.2f} ms)\n",
      title, forecast.ttft * 1e3, forecast.tpot * 1e3, forecast.output_tokens_per_s, to_string(stage.bound()),
      stage.memory * 1e3, stage.compute * 1e3, stage.overlapped * 1e3, stage.link * 1e3, stage.latency * 1e3);
}

std::string best_text(const PlanReport& report) {
  const LayoutPlan& plan = report.best();
  const LayoutCapacity& capacity = plan.capacity;
  std::string out = fmt::format("\n{}, layers {}\n", name_of(capacity.sizes), fmt::join(capacity.layers, ","));
  out += ranks_text(plan, report.hosts);
  out += fmt::format("  {:<14} {} tokens in {} blocks of {} a replica\n", "KV cache",
                     capacity.num_blocks * kBlockTokens, capacity.num_blocks, kBlockTokens);
  out += fmt::format("  {:<14} {} sequences of {} tokens; --max-num-seqs allows {}\n", "largest batch", plan.max_batch,
                     report.load.sequence_tokens(), int64_t{report.max_num_seqs} * capacity.sizes.dp);
  out += fmt::format(
      "  {:<14} a decoded token: {} between parts of stages in {} exchanges, {} between stages, over all ranks\n",
      "traffic", size(static_cast<double>(plan.parts_per_token.bytes)), plan.parts_per_token.num_exchanges,
      size(static_cast<double>(plan.border_per_token.bytes)));
  out += forecast_text("one stream", plan.one_stream);
  out += forecast_text(fmt::format("{} streams", plan.full_load.concurrency), plan.full_load);
  if (report.cost_per_rank_hour > 0)
    out += fmt::format("  {:<14} {:.4g} for a million output tokens\n", "cost", cost_per_million_tokens(report));
  const StartLines lines = start_lines(report);
  out += fmt::format("\nstart it by one of\n  {}\n  {}\n  {}\n", lines.run, lines.mpirun, lines.srun);
  out += fmt::format("serve without -tp, -pp and -dp takes {}\n", name_of(report.served_by_default));
  return out;
}

int ranks_on_fullest_host(const RankHosts& hosts) {
  std::map<int, int> count;
  int most = 0;
  for (const int host : hosts.host_of_rank) most = std::max(most, ++count[host]);
  return most;
}

}  // namespace

StartLines start_lines(const PlanReport& report) {
  const LayoutSizes& sizes = report.best().capacity.sizes;
  const int num_ranks = sizes.num_ranks(), on_host = ranks_on_fullest_host(report.hosts);
  std::string serve = fmt::format("serve {} -tp {} -pp {} -dp {}", report.model, sizes.tp, sizes.pp, sizes.dp);
  for (const std::string& flag : report.serve_flags) serve += " " + flag;
  const std::string hosts = num_ranks > on_host ? " --hostfile HOSTS" : "";
  return {.run = fmt::format("launch/run -np {}{} -- {}", num_ranks, hosts, serve),
          .mpirun = fmt::format("mpirun -np {}{} --map-by ppr:{}:node build/release/echelon {}", num_ranks, hosts,
                                on_host, serve),
          .srun = fmt::format("srun --mpi=pmix --ntasks={} --ntasks-per-node={} build/release/echelon {}", num_ranks,
                              on_host, serve)};
}

double cost_per_million_tokens(const PlanReport& report) {
  const double per_second = report.best().full_load.output_tokens_per_s;
  if (per_second <= 0) return 0;
  return report.cost_per_rank_hour * report.hosts.num_ranks() / (per_second * kSecondsPerHour) * kMillion;
}

std::string plan_text(const PlanReport& report) {
  std::string out = fmt::format("{} ({}) on {} ranks of {}\n", report.model, report.family, report.hosts.num_ranks(),
                                report.device.name);
  out += device_text(report);
  out += fmt::format("load      {} streams at a time, each {} prompt and {} output tokens\n", report.load.concurrency,
                     report.load.prompt_tokens, report.load.output_tokens);
  out += table_text(report);
  if (report.best().capacity.fits()) return out + best_text(report);
  return out +
         "\nnothing fits: give more ranks or --memory, lower --max-model-len or --max-num-batched-tokens, or use "
         "--kv-cache-dtype int8\n";
}

}  // namespace echelon
