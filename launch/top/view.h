// A server's last interval as lines for a terminal, or for a file. Pure.
#pragma once

#include <string>
#include <vector>

#include "launch/top/snapshot.h"

namespace echelon {

struct ViewOptions {
  int width = 80;      ///< columns; lines are cut there. Below 40 counts as 40
  bool colour = true;  ///< escape sequences of ANSI terminals; without them nothing but printable ASCII
};

/// What the server did between two snapshots that were taken `seconds` apart, line by line without ends of lines. Of
/// ranks that have not reported in between, what they did until `now`. A server that has begun anew in between counts
/// from its start.
std::vector<std::string> top_lines(const Snapshot& before, const Snapshot& now, double seconds,
                                   const ViewOptions& options);

}  // namespace echelon
