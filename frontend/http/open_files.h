// How many connections the process may have: each is an open file, and other parts of the process have files, too.
#pragma once

#include <cstddef>

namespace echelon {

/// Raises the soft limit of open files (RLIMIT_NOFILE) towards the hard one as far as `wanted` connections need it, and
/// returns how many of them fit: at least 1.
size_t room_for_connections(size_t wanted);

}  // namespace echelon
