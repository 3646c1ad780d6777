// `echelon top`: a running server, as a terminal shows it. Starts no MPI.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "top". Prints to stdout. Returns the exit code: 0, or 2 for a mistake in the arguments
/// and, with --once, for a server that does not answer; without it the server is asked again until a signal ends this.
int top(const std::vector<std::string>& arguments);

}  // namespace echelon
