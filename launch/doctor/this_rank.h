// Finds the facts of this rank: from the kernel's files, MPI, the CUDA driver, and by trying the ways to other ranks.
#pragma once

#include <string>

#include "launch/doctor/rank_facts.h"
#include "launch/options.h"
#include "parallel/job.h"

namespace echelon {

/// All ranks at once. What is at fault stands in the facts: this throws only when MPI itself fails.
RankFacts find_rank_facts(Job& job, const ServeOptions& options);

struct Mount {
  std::string point, type;
};
/// The last mount of a text like /proc/self/mountinfo that `path`, absolute and without links, lies in.
Mount find_mount(const std::string& mountinfo, const std::string& path);
/// Do the bytes of such a file system come over a network?
bool is_remote_type(const std::string& type);

}  // namespace echelon
