// What would prevent a start or make it slow, found in the facts of all ranks: pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/doctor/rank_facts.h"

namespace echelon {

struct Finding {
  bool is_error = false;  ///< a server would not start
  std::string what;       ///< names the ranks
  std::string cure;       ///< what to type or to ask for
};

/// By rank; at least one. `max_connections` is what the server is to take. Errors first.
std::vector<Finding> find_faults(const std::vector<RankFacts>& ranks, int64_t max_connections);

}  // namespace echelon
