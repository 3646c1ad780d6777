// The command line of `echelon doctor`: every option of serve, so that a command of serve can be looked at as it is.
#pragma once

#include <string>
#include <vector>

#include "launch/options.h"

namespace echelon {

struct DoctorOptions {
  DoctorOptions() { serve.startup_timeout_s = 30; }
  ServeOptions serve;  ///< the model may be missing
  bool json = false;
};

struct DoctorInvocation : Invocation {
  DoctorOptions options;
};

Command doctor_command(DoctorOptions& options);

/// As parse_command().
DoctorInvocation parse_doctor(const std::vector<std::string>& arguments, const Environment& environment);

std::string doctor_help();

}  // namespace echelon
