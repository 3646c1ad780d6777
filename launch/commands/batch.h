// `echelon batch`: a file of requests from start to end, on every rank.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "batch". Returns the exit code: 0 when every request has an answer, be it a refusal; 1
/// when it was told to end before. A fault of the job ends the process by end_job().
int batch(const std::vector<std::string>& arguments);

}  // namespace echelon
