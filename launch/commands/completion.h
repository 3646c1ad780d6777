// echelon completion bash|zsh|fish: prints the script that completes its commands and options.
#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `arguments`: what follows "completion". Returns the exit code.
int completion(const std::vector<std::string>& arguments);

}  // namespace echelon
