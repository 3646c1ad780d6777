#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `echelon simulate`; `arguments`: what follows the word. Starts no rank. Returns the exit code.
int simulate(const std::vector<std::string>& arguments);

}  // namespace echelon
