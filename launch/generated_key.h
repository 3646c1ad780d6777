// A key for a server that others can reach and for which nobody has named one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace echelon {

/// 192 random bits.
std::string random_api_key();

/// Where such a key is kept, best first: the user's cache folder, which on a cluster every host sees, then
/// $XDG_RUNTIME_DIR. Not thread-safe against setenv.
std::vector<std::filesystem::path> key_folders();

/// HOST-PORT.key in the first folder that can be written, readable by this user alone; replaces the file of a server
/// before. Throws Error(Part::launch) that says what to give instead.
std::filesystem::path write_api_key(const std::string& key, const std::string& host, int port,
                                    const std::vector<std::filesystem::path>& folders);

}  // namespace echelon
