#include "launch/commands/plan.h"

#include <fmt/format.h>

#include "kernels/base/error.h"
#include "kernels/base/log.h"
#include "launch/plan_inputs.h"
#include "launch/plan_options.h"
#include "launch/plan_report.h"

namespace echelon {
namespace {

constexpr int kNothingFits = 1, kModelFault = 1, kUsage = 2;

PlanReport make_report(const PlanInvocation& invocation) {
  const PlanOptions& options = invocation.options;
  PlanInputs inputs = plan_inputs(options);
  PlanReport report{.model = options.serve.model, .family = inputs.model.files.spec.family};
  report.load = inputs.load;
  report.max_num_seqs = inputs.settings.max_num_seqs;
  report.cost_per_rank_hour = options.cost_per_gpu_hour;
  report.serve_flags = serve_flags(invocation);
  report.layouts =
      plan_layouts(inputs.model.files, inputs.settings, inputs.device, inputs.hosts, inputs.load, inputs.wanted);
  report.served_by_default = layout_to_serve(inputs.model.files, inputs.settings, inputs.hosts).sizes;
  report.device = std::move(inputs.device);
  report.hosts = std::move(inputs.hosts);
  return report;
}

}  // namespace

int plan(const std::vector<std::string>& arguments) {
  try {
    const PlanInvocation invocation = parse_plan(arguments, process_environment());
    if (invocation.help || invocation.print_config) {
      fmt::print("{}", invocation.help ? plan_help() : print_config("plan", invocation));
      return 0;
    }
    log::set_up(0, invocation.options.serve.log_level);
    for (const std::string& warning : invocation.warnings) log::warn("{}", warning);
    const PlanReport report = make_report(invocation);
    fmt::print("{}", invocation.options.json ? plan_json(report) : plan_text(report));
    return report.best().capacity.fits() ? 0 : kNothingFits;
  } catch (const Error& error) {
    fmt::print(stderr, "echelon plan: {}\n", error.what());
    return error.part() == Part::launch || error.part() == Part::parallel ? kUsage : kModelFault;
  }
}

}  // namespace echelon
