// What a user wants to know when the server is ready: what it serves, what it takes, where it is, and a line to try it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "frontend/http/listen_address.h"
#include "launch/options.h"
#include "parallel/layout.h"

namespace echelon {

/// Where the server is, as it turned out.
struct ServedAt {
  std::string host;                      ///< of rank 0
  std::vector<ListenAddress> addresses;  ///< with bound ports
  std::filesystem::path made_key_file;   ///< of a key that was made for this server; empty: none was
};

/// Is there anything that SIGHUP reads again?
bool has_files(const ServeOptions& options);

/// The engine is ready.
std::string banner(const ServeOptions& options, const Engine& engine, const Layout& layout, const ServedAt& at);

}  // namespace echelon
