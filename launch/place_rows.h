// The options of serve that say where others find it and its logs. Part of its table (option_table.h).
#pragma once

#include <vector>

#include "launch/option_rows.h"
#include "launch/options.h"

namespace echelon {

/// --port: one, or a range. Bound to `options`, which outlives it.
OptionRow port_row(ServeOptions& options);
/// Likewise the files that tell programs where the server is, and the folder of logs.
std::vector<OptionRow> place_rows(ServeOptions& options);

}  // namespace echelon
