// The YAML file of --config: keys are option names, values are scalars or lists of scalars.
#pragma once

#include <string>
#include <vector>

namespace echelon {

struct FileEntry {
  std::string name;                 ///< one of the names asked for
  std::vector<std::string> values;  ///< one text, or a list's
  std::string where;                ///< "FILE:LINE: key"
};

/// Keys may be written with '_' for '-'. Throws Error(Part::launch) that names FILE:LINE for a file that is missing,
/// larger than 1 MiB or no YAML, a key that is none of `names` (with the nearest one), stands twice or has a map as its
/// value.
std::vector<FileEntry> read_option_file(const std::string& path, const std::vector<std::string>& names);

}  // namespace echelon
