// The command line of `echelon top`.
#pragma once

#include <string>
#include <vector>

#include "launch/command_line.h"

namespace echelon {

struct TopOptions {
  std::string url;
  int interval = 2;     ///< seconds; ranks report every second
  bool once = false;    ///< one interval as plain text, then exit
  std::string api_key;  ///< empty: none is sent
};

struct TopInvocation : Invocation {
  TopOptions options;
};

Command top_command(TopOptions& options);

/// As parse_command(), but ECHELON_CONFIG is left alone: it is serve's.
TopInvocation parse_top(const std::vector<std::string>& arguments, const Environment& environment);

std::string top_help();

}  // namespace echelon
