// Chooses the kind of job from the environment that launchers set.
#include "parallel/job.h"

#include <unistd.h>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "parallel/end_job.h"
#include "parallel/launcher.h"
#include "parallel/local/single_job.h"
#include "parallel/mpi/mpi_job.h"

namespace echelon {
namespace {

/// All of them find the same; the first speaks.
[[noreturn]] void refuse_singletons(const Launcher& launcher) {
  set_job_abort(nullptr);  // there is no rank beside this one, and MPI_Abort has words of its own
  constexpr unsigned kFirstSpeaksUs = 1'000'000;
  if (launcher.task == 0) throw Error(Part::parallel, singletons_message(launcher));
  ::usleep(kFirstSpeaksUs);
  ::_exit(kJobFailedExitCode);
}

}  // namespace

std::unique_ptr<Job> start_job(const JobOptions& options) {
  const Launcher launcher = find_launcher();
  std::unique_ptr<Job> job;
  if (launcher.kind != Launcher::Kind::none) {
    die_with_parent();
    if (!launcher.offers_pmi) refuse_singletons(launcher);  // MPI would end the process with words of its own
    job = std::make_unique<MpiJob>(options);
    if (job->size() == 1 && launcher.num_tasks > 1) refuse_singletons(launcher);
  } else {
    job = std::make_unique<SingleJob>();
  }
  set_process_rank(job->rank());
  return job;
}

}  // namespace echelon
