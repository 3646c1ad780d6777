#include "launch/write_file.h"

#include <fmt/format.h>

#include <fstream>

#include "kernels/base/error.h"

namespace echelon {

void write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw Error(Part::launch, fmt::format("{}: cannot be written", path));
}

}  // namespace echelon
