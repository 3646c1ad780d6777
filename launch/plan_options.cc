#include "launch/plan_options.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "engine/planner/device_table.h"
#include "kernels/base/error.h"
#include "kernels/base/limits.h"
#include "launch/option_table.h"
#include "launch/sweep_rows.h"

namespace echelon {
namespace {

constexpr int kMaxConcurrency = 1 << 20;
constexpr int64_t kMaxMemory = int64_t{1} << 46;
constexpr int64_t kMaxRate = int64_t{1} << 60;
constexpr double kMaxPrice = 1e6;
constexpr int kMaxRequests = 1 << 20;

OptionRow device_row(std::string& target) {
  std::vector<std::string_view> names{"cpu"};
  for (const Device& device : device_table()) names.push_back(device.name);
  std::string help = "what each rank runs on: cpu is this host, measured";
  for (size_t i = 1; i < names.size(); ++i) help += (i + 1 < names.size() ? ", " : " or ") + std::string(names[i]);
  OptionRow row = base_row({.name = "device", .value_name = "NAME", .help = help}, OptionShape::scalar);
  row.choices.assign(names.begin(), names.end());
  row.set = [&target, names](std::span<const std::string> values) {
    target = names[parse_choice(values.back(), names)];
  };
  row.get = [&target] { return target; };
  return row;
}

OptionRow price_row(double& target) {
  OptionRow row = base_row({.name = "cost-per-gpu-hour",
                            .value_name = "PRICE",
                            .help = "of a rank, in any currency: gives the cost of a million tokens; 0: not said"},
                           OptionShape::scalar);
  row.set = [&target](std::span<const std::string> values) { target = parse_decimal(values.back(), kMaxPrice); };
  row.get = [&target] { return fmt::format("{}", target); };
  return row;
}

std::vector<OptionRow> own_rows(PlanOptions& options) {
  return {
      integer({.name = "ranks",
               .value_name = "N",
               .help = "ranks to plan for; 0: as many as -tp, -pp and -dp multiply to",
               .short_name = "-np"},
              options.ranks, {0, kMaxRanks}),
      integer({.name = "ranks-per-host", .value_name = "N", .help = "0: all on one host with cpu, else 8"},
              options.ranks_per_host, {0, kMaxRanks}),
      device_row(options.device),
      bytes({.name = "memory",
             .value_name = "BYTES",
             .help = "memory of each rank, such as 80G; 0: the device's; cpu: this host's free memory by its ranks"},
            options.memory, {0, kMaxMemory}),
      integer({.name = "memory-bandwidth",
               .value_name = "RATE",
               .help = "bytes per second of a rank's memory, such as 200g; 0: the device's"},
              options.memory_bandwidth, {0, kMaxRate}, true),
      integer({.name = "flops",
               .value_name = "RATE",
               .help = "operations per second of a rank, such as 1.5t; 0: the device's"},
              options.flops, {0, kMaxRate}, true),
      integer({.name = "network-bandwidth",
               .value_name = "RATE",
               .help = "bytes per second between hosts, such as 25g; 0: the device's usual"},
              options.network_bandwidth, {0, kMaxRate}, true),
      integer({.name = "prompt", .value_name = "N", .help = "tokens of a prompt"}, options.prompt, {1, kMaxModelLen},
              true),
      integer({.name = "output", .value_name = "N", .help = "tokens of an answer"}, options.output, {1, kMaxModelLen},
              true),
      integer({.name = "concurrency", .value_name = "N", .help = "sequences at a time; 0: --max-num-seqs"},
              options.concurrency, {0, kMaxConcurrency}),
      price_row(options.cost_per_gpu_hour),
      boolean({.name = "json", .value_name = "", .help = "print the plan as JSON"}, options.json),
  };
}

std::vector<OptionRow> simulate_rows(SimulateOptions& options) {
  return {
      integer({.name = "requests", .value_name = "N", .help = "of each row"}, options.requests, {1, kMaxRequests},
              true),
      concurrencies_row(options.concurrencies),
      rates_row(options.rates),
      integer({.name = "arrival-seed", .value_name = "N", .help = "of the times of --sweep-rate"}, options.seed,
              {0, std::numeric_limits<int>::max()}),
      text({.name = "svg", .value_name = "FILE", .help = "a plot of throughput and latencies"}, options.svg),
  };
}

std::string for_shell(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-_./,:=+@%").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain && !text.empty()) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// A value as YAML prints it ("x", [1, 2]) back to what a flag takes (x, 1,2).
std::string flag_value(const std::string& yaml) {
  std::string out;
  const bool quoted = yaml.starts_with('"'), list = yaml.starts_with('[');
  if (!quoted && !list) return yaml;
  for (size_t i = 1; i + 1 < yaml.size(); ++i) {
    if (quoted && yaml[i] == '\\') ++i;
    if (list && yaml[i] == ' ') continue;
    out += yaml[i];
  }
  return out;
}

}  // namespace

Command plan_command(PlanOptions& options) {
  Command command{.name = "plan", .rows = serve_rows(options.serve)};
  for (OptionRow& row : own_rows(options)) command.rows.push_back(std::move(row));
  return command;
}

Command simulate_command(SimulateOptions& options) {
  Command command = plan_command(options.plan);
  command.name = "simulate";
  for (OptionRow& row : simulate_rows(options)) command.rows.push_back(std::move(row));
  return command;
}

PlanInvocation parse_plan(const std::vector<std::string>& arguments, const Environment& environment) {
  PlanInvocation invocation;
  static_cast<Invocation&>(invocation) = parse_command(plan_command(invocation.options), arguments, environment);
  return invocation;
}

SimulateInvocation parse_simulate(const std::vector<std::string>& arguments, const Environment& environment) {
  SimulateInvocation invocation;
  SimulateOptions& options = invocation.options;
  static_cast<Invocation&>(invocation) = parse_command(simulate_command(options), arguments, environment);
  if (!options.rates.empty() && !options.concurrencies.empty())
    throw Error(Part::launch, "--sweep-rate and --sweep-concurrency: one of them");
  return invocation;
}

std::string simulate_help() {
  std::string out =
      "usage: echelon simulate MODEL [options]\n\n"
      "Runs the scheduler of serve on a virtual clock, over ranks whose times are those of echelon plan, and says "
      "what\n"
      "clients would see. Reads the headers of MODEL alone. Takes every option of serve and plan, too.\n\n";
  SimulateOptions presets;
  for (const OptionRow& row : simulate_rows(presets)) out += option_help(row);
  for (const OptionRow& row : own_rows(presets.plan)) out += option_help(row);
  return out;
}

std::string plan_help() {
  std::string out =
      "usage: echelon plan MODEL [options]\n\n"
      "Says which layouts of tensor, pipeline and data parallel ranks hold MODEL, what each rank needs, and how fast\n"
      "they are at best. Reads the headers of MODEL alone and starts no rank. Takes every option of serve, too "
      "(echelon\n"
      "serve --help), so that a command of serve can be planned as it is; -tp, -pp and -dp keep a part of the "
      "layout.\n\n";
  PlanOptions presets;
  for (const OptionRow& row : own_rows(presets)) out += option_help(row);
  return out;
}

std::vector<std::string> serve_flags(const PlanInvocation& invocation) {
  constexpr std::string_view kNotHere[] = {"model", "api-key", "tensor-parallel-size", "pipeline-parallel-size",
                                           "data-parallel-size"};
  ServeOptions presets;
  std::vector<std::string> flags;
  for (const OptionRow& row : serve_rows(presets)) {
    if (std::find(std::begin(kNotHere), std::end(kNotHere), row.name) != std::end(kNotHere)) continue;
    const auto origin = std::find_if(invocation.origins.begin(), invocation.origins.end(),
                                     [&](const OptionOrigin& each) { return each.name == row.name; });
    if (origin == invocation.origins.end() || origin->source == OptionSource::preset) continue;
    if (row.shape == OptionShape::flag) {
      flags.push_back((origin->value == "true" ? "--" : "--no-") + row.name);
    } else {
      flags.push_back("--" + row.name);
      flags.push_back(for_shell(flag_value(origin->value)));
    }
  }
  return flags;
}

}  // namespace echelon
