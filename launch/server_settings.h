// From the options of `serve` to what the front end takes.
#pragma once

#include "frontend/http/options.h"
#include "launch/options.h"

namespace echelon {

ServerOptions server_options(const ServeOptions& options);

/// Other hosts can reach the server, and neither a key nor --no-api-key says who may use it. Resolves the host; throws
/// Error(Part::frontend) when that fails.
bool needs_api_key(const ServeOptions& options);

}  // namespace echelon
