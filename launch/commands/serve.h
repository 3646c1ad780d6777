// `echelon serve`: one rank of a job from start to end.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "serve". Returns the exit code; a fault of the job ends the process by end_job().
int serve(const std::vector<std::string>& arguments);

}  // namespace echelon
