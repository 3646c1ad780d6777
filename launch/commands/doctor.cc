#include "launch/commands/doctor.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <cstdio>

#include "kernels/base/error.h"
#include "launch/commands/rank.h"
#include "launch/doctor/report.h"
#include "launch/doctor/this_rank.h"
#include "launch/doctor_options.h"
#include "parallel/end_job.h"

namespace echelon {
namespace {

constexpr int kSick = 1;

int examine(const DoctorOptions& options) {
  try {
    const auto job = start_job(
        {.start_timeout_ms = options.serve.startup_timeout_s * 1000, .interface = options.serve.control_interface});
    set_up_log(*job, options.serve);
    const std::string mine = boost::json::serialize(to_json(find_rank_facts(*job, options.serve)));
    DoctorReport report;
    for (const std::string& text : job->exchange_texts("gathering what ranks found", mine))
      report.ranks.push_back(parse_rank_facts(text));
    report.findings = find_faults(report.ranks, options.serve.max_connections);
    if (job->rank() == 0) {
      fmt::print("{}", options.json ? doctor_json(report) : doctor_text(report));
      std::fflush(stdout);
    }
    job->finish();
    if (job->rank() > 0) return 0;
    const int code = report.has_errors() ? kSick : 0;
    tell_outcome(std::to_string(code));
    return code;
  } catch (const std::exception& fault) {
    end_job(fault.what());
  }
}

}  // namespace

int doctor(const std::vector<std::string>& arguments) {
  return run_command("doctor", arguments, &parse_doctor, &doctor_help, &examine);
}

}  // namespace echelon
