#pragma once

#include <string>
#include <vector>

namespace echelon {

/// `echelon doctor`; `arguments`: what follows the word. On every rank; rank 0 prints. Returns the exit code.
int doctor(const std::vector<std::string>& arguments);

}  // namespace echelon
