// The command line of `echelon batch`: a file of requests, a file of answers, and every option of serve.
#pragma once

#include <string>
#include <vector>

#include "launch/options.h"

namespace echelon {

struct BatchOptions {
  ServeOptions serve;
  std::string input;   ///< a request a line
  std::string output;  ///< an answer a line; what it has is not asked again
};

struct BatchInvocation : Invocation {
  BatchOptions options;
};

Command batch_command(BatchOptions& options);

/// As parse_command().
BatchInvocation parse_batch(const std::vector<std::string>& arguments, const Environment& environment);

std::string batch_help();

}  // namespace echelon
