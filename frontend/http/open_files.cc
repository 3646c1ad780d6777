// The limit is the process's; the front end is what needs many.
#include "frontend/http/open_files.h"

#include <sys/resource.h>

#include <algorithm>

namespace echelon {
namespace {

/// Left for logs, certificates, files of batches, other ranks, connections that are refused.
constexpr size_t kOtherFiles = 320;

}  // namespace

size_t room_for_connections(size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  const rlim_t needed = wanted + kOtherFiles;
  if (limit.rlim_cur < needed) {
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max == RLIM_INFINITY ? needed : std::min(needed, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= needed) return wanted;
  return limit.rlim_cur > kOtherFiles ? limit.rlim_cur - kOtherFiles : 1;
}

}  // namespace echelon
