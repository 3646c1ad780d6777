#pragma once

#include <string>

namespace echelon {

/// What was in the file is lost. Throws Error(Part::launch) that names it.
void write_file(const std::string& path, const std::string& text);

}  // namespace echelon
