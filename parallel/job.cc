// Chooses the kind of job from the environment that launchers set.
#include "parallel/job.h"

#include <cstdlib>
#include <cstring>

#include "kernels/base/check.h"
#include "parallel/end_job.h"
#include "parallel/local/single_job.h"
#include "parallel/mpi/mpi_job.h"

namespace echelon {

bool started_by_launcher() {
  const auto has = [](const char* name) { return std::getenv(name) != nullptr; };
  if (has("OMPI_COMM_WORLD_SIZE") || has("PMIX_RANK") || has("PMI_RANK")) return true;
  // A batch script has SLURM_PROCID as well; only a task that srun has started has a step with a number of tasks.
  const char* step = std::getenv("SLURM_STEP_ID");
  const char* num_tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  return has("SLURM_PROCID") && step != nullptr && num_tasks != nullptr && std::atoi(num_tasks) > 1;
}

std::unique_ptr<Job> start_job(const JobOptions& options) {
  std::unique_ptr<Job> job;
  if (started_by_launcher()) {
    die_with_parent();
    job = std::make_unique<MpiJob>(options);
  } else {
    job = std::make_unique<SingleJob>();
  }
  set_process_rank(job->rank());
  return job;
}

}  // namespace echelon
