// `echelon bench`: measures a running server. Starts no MPI.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "bench". Returns the exit code: 0; 1 when a request failed or SIGINT ended it; 2 for a
/// mistake in the arguments or a server that does not answer.
int bench(const std::vector<std::string>& arguments);

}  // namespace echelon
