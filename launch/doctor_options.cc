#include "launch/doctor_options.h"

#include "launch/option_table.h"

namespace echelon {
namespace {

std::vector<OptionRow> own_rows(DoctorOptions& options) {
  return {boolean({.name = "json", .value_name = "", .help = "print all of it for programs"}, options.json)};
}

}  // namespace

Command doctor_command(DoctorOptions& options) {
  Command command{.name = "doctor", .rows = serve_rows(options.serve)};
  command.rows.front().may_be_missing = true;
  for (OptionRow& row : own_rows(options)) command.rows.push_back(std::move(row));
  return command;
}

DoctorInvocation parse_doctor(const std::vector<std::string>& arguments, const Environment& environment) {
  DoctorInvocation invocation;
  static_cast<Invocation&>(invocation) = parse_command(doctor_command(invocation.options), arguments, environment);
  return invocation;
}

std::string doctor_help() {
  std::string out =
      "usage: echelon doctor [MODEL] [options]\n\n"
      "Looks at the ranks that mpirun or srun started, or at this host: cores, memory, GPUs, networks, limits, MODEL, "
      "and\n"
      "the ways between ranks, which it tries. Then says what would prevent a start (exit code 1) or slow it down, "
      "each\n"
      "with its cure. Start it as the server: launch/run -np 4 -- doctor MODEL. Takes every option of serve, too.\n\n";
  DoctorOptions presets;
  for (const OptionRow& row : own_rows(presets)) out += option_help(row);
  return out;
}

}  // namespace echelon
