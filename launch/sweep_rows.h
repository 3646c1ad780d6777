// Options of the loads that `simulate` and `bench` go through.
#pragma once

#include <vector>

#include "launch/option_rows.h"

namespace echelon {

/// --sweep-concurrency
OptionRow concurrencies_row(std::vector<int>& target);
/// --sweep-rate
OptionRow rates_row(std::vector<double>& target);

}  // namespace echelon
