// The options of serve that say who may use the server. Part of its table (option_table.h).
#pragma once

#include <vector>

#include "launch/option_rows.h"
#include "launch/options.h"

namespace echelon {

/// Bound to `options`, which outlives them.
std::vector<OptionRow> access_rows(ServeOptions& options);

}  // namespace echelon
