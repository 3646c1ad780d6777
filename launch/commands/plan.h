// `echelon plan`: which layouts hold a model, and how fast they are at best. Starts no MPI.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "plan". Prints to stdout. Returns the exit code: 0, 1 when nothing fits or the model
/// cannot be read, 2 for a mistake in the arguments.
int plan(const std::vector<std::string>& arguments);

}  // namespace echelon
