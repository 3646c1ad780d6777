// `echelon chat`: a conversation with a running server in a terminal. Starts no MPI.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "chat". Returns the exit code: 0, or 2 for a mistake in the arguments, and, from a pipe,
/// for a server that does not answer.
int chat(const std::vector<std::string>& arguments);

}  // namespace echelon
