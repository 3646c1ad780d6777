// How requests are shared among the replicas of a job.
#pragma once

namespace echelon {

enum class Balance {
  prefix,        ///< fewest tokens to run: those before it, and its own twice, but for those in the replica's cache
  least_loaded,  ///< fewest tokens to run before it
  round_robin,   ///< in turn
  latency,       ///< as prefix, in time: a replica that is slower gets less
};

}  // namespace echelon
