#include "parallel/launcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

namespace echelon {

Launcher find_launcher(const std::function<const char*(const char*)>& variable) {
  const auto has = [&](const char* name) { return variable(name) != nullptr; };
  const auto number = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (const char* text = variable(name)) return std::max(0, std::atoi(text));
    }
    return 0;
  };
  Launcher launcher;
  launcher.offers_pmi = has("OMPI_COMM_WORLD_SIZE") || has("PMIX_RANK") || has("PMI_RANK");
  const bool in_step = has("SLURM_STEP_ID") && has("SLURM_PROCID");
  if (!launcher.offers_pmi && !(in_step && number({"SLURM_STEP_NUM_TASKS"}) > 1)) return launcher;
  launcher.kind = has("OMPI_COMM_WORLD_SIZE") ? Launcher::Kind::open_mpi
                  : in_step                   ? Launcher::Kind::slurm
                                              : Launcher::Kind::other;
  launcher.task = number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"});
  launcher.num_tasks = number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"});
  if (launcher.num_tasks == 0 && in_step) launcher.num_tasks = number({"SLURM_STEP_NUM_TASKS"});
  return launcher;
}

Launcher find_launcher() {
  return find_launcher([](const char* name) -> const char* { return std::getenv(name); });
}

std::string singletons_message(const Launcher& launcher) {
  constexpr const char* kAlways = "launch/run starts it as it should be";
  if (launcher.kind == Launcher::Kind::slurm)
    return fmt::format(
        "srun started {} processes, and MPI takes each for a job of its own, rank 0 of 1: type `srun --mpi=pmix`, or "
        "mpirun where `srun --mpi=list` has no pmix or MPI does not understand it; {}",
        launcher.num_tasks, kAlways);
  return fmt::format(
      "{} started {} processes, and MPI takes each for a job of its own, rank 0 of 1: type the mpirun of the Open MPI "
      "that this program is linked with (ldd shows which libmpi.so); {}",
      launcher.kind == Launcher::Kind::open_mpi ? "the mpirun of another Open MPI" : "the mpirun of another MPI",
      launcher.num_tasks, kAlways);
}

}  // namespace echelon
