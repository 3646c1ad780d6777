// What the environment says of who started this process, before MPI is asked.
#pragma once

#include <functional>
#include <string>

namespace echelon {

struct Launcher {
  enum class Kind { none, open_mpi, slurm, other };
  Kind kind = Kind::none;
  bool offers_pmi = false;  ///< MPI can learn of the other ranks
  int task = 0;             ///< this process among those that were started
  int num_tasks = 0;        ///< 0: the launcher does not say
};

/// `variable(name)` is the value of an environment variable, or null. A batch script is no rank: Slurm calls it task 0,
/// too, but of no step, or of one with a single task.
Launcher find_launcher(const std::function<const char*(const char*)>& variable);
/// Of this process.
Launcher find_launcher();

/// Several processes were started, each of which MPI takes for a job of its own: why, and what to type.
std::string singletons_message(const Launcher& launcher);

}  // namespace echelon
