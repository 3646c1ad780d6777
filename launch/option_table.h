// Every option of `serve`, once: flags, variables, YAML keys, help and --print-config follow from its row.
#pragma once

#include <vector>

#include "launch/option_rows.h"
#include "launch/options.h"

namespace echelon {

/// Rows that fill `options`, which outlives them; in the order of the help.
std::vector<OptionRow> serve_rows(ServeOptions& options);

}  // namespace echelon
