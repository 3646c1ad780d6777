// The end of a batch job's time, and when a server begins to drain before it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace echelon {

struct DrainPlan {
  std::optional<int64_t> at_unix_s;  ///< empty: at no time
  std::string message;               ///< what follows from the variable, or what is wrong with it; empty without it
  bool wrong = false;                ///< the variable makes no sense and counts for nothing
};

/// `job_end`: Slurm's SLURM_JOB_END_TIME, seconds of Unix, or null. Draining begins `before_end_s` before it, 0: never;
/// but at the earliest when half of the time that is left now has passed, so that a short job serves, too.
DrainPlan plan_drain(const char* job_end, int64_t before_end_s, int64_t now_unix_s);

}  // namespace echelon
