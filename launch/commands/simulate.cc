#include "launch/commands/simulate.h"

#include <fmt/format.h>

#include <cstdio>

#include "kernels/base/error.h"
#include "kernels/base/log.h"
#include "launch/plan_inputs.h"
#include "launch/simulate_report.h"
#include "launch/write_file.h"

namespace echelon {
namespace {

constexpr int kFault = 1, kUsage = 2;

SimulateReport make_report(const SimulateOptions& options) {
  PlanInputs inputs = plan_inputs(options.plan);
  const LayoutPlan best =
      plan_layouts(inputs.model.files, inputs.settings, inputs.device, inputs.hosts, inputs.load, inputs.wanted)
          .front();
  SimulateReport report{.title = fmt::format("{} on {} x {}", options.plan.serve.model, inputs.hosts.num_ranks(),
                                             inputs.device.description),
                        .device_source = inputs.device.source,
                        .offered_name = options.rates.empty() ? "clients" : "requests/s",
                        .sizes = best.capacity.sizes,
                        .load = inputs.load,
                        .num_requests = options.requests};
  const auto add = [&](double offered, int concurrency, double rate) {
    Load load = inputs.load;
    load.concurrency = concurrency;
    const Arrivals arrivals{
        .num_requests = options.requests, .per_second = rate, .seed = static_cast<uint64_t>(options.seed)};
    report.rows.push_back({offered, simulate_job(inputs.model.files, inputs.settings, inputs.device, inputs.hosts, load,
                                                 arrivals, report.sizes)});
  };
  for (const double rate : options.rates) add(rate, inputs.load.concurrency, rate);
  for (const int clients : options.concurrencies) add(clients, clients, 0);
  if (report.rows.empty()) add(inputs.load.concurrency, inputs.load.concurrency, 0);
  return report;
}

}  // namespace

int simulate(const std::vector<std::string>& arguments) {
  try {
    const SimulateInvocation invocation = parse_simulate(arguments, process_environment());
    if (invocation.help || invocation.print_config) {
      fmt::print("{}", invocation.help ? simulate_help() : print_config("simulate", invocation));
      return 0;
    }
    log::set_up(0, invocation.options.plan.serve.log_level);
    for (const std::string& warning : invocation.warnings) log::warn("{}", warning);
    const SimulateReport report = make_report(invocation.options);
    if (!invocation.options.svg.empty()) write_file(invocation.options.svg, simulate_svg(report));
    fmt::print("{}", invocation.options.plan.json ? simulate_json(report) : simulate_text(report));
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "echelon simulate: {}\n", error.what());
    return error.part() == Part::launch || error.part() == Part::parallel ? kUsage : kFault;
  }
}

}  // namespace echelon
