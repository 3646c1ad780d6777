// What the variables of launchers say: which process is a rank, and when ranks do not know of each other.
#include "parallel/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace echelon {
namespace {

using ::testing::HasSubstr;
using Kind = Launcher::Kind;
using Variables = std::map<std::string, std::string>;

Launcher with(const Variables& variables) {
  return find_launcher([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

void expect(const Launcher& found, Kind kind, bool offers_pmi, int task, int num_tasks) {
  EXPECT_EQ(found.kind, kind);
  EXPECT_EQ(found.offers_pmi, offers_pmi);
  EXPECT_EQ(found.task, task);
  EXPECT_EQ(found.num_tasks, num_tasks);
}

TEST(Launcher, NoneStartsAPlainProcess) {
  expect(with({}), Kind::none, false, 0, 0);
  // A script of sbatch or a shell of salloc that asked for four tasks, and one that Slurm calls a step of its own.
  expect(with({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}), Kind::none, false, 0, 0);
  expect(with({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "4294967291"}}), Kind::none, false, 0,
         0);
  expect(with({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}),
         Kind::none, false, 0, 0);
}

TEST(Launcher, MpirunOfOpenMpiInsideAndOutsideOfSlurm) {
  const Variables ranks{{"OMPI_COMM_WORLD_SIZE", "3"}, {"OMPI_COMM_WORLD_RANK", "2"}, {"PMIX_RANK", "2"}};
  expect(with(ranks), Kind::open_mpi, true, 2, 3);
  Variables in_slurm = ranks;  // the daemon's own step
  in_slurm.merge(Variables{{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  expect(with(in_slurm), Kind::open_mpi, true, 2, 3);
}

TEST(Launcher, SrunWithAndWithoutPmi) {
  const Variables task{{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}};
  expect(with(task), Kind::slurm, false, 1, 4);
  Variables with_pmix = task, with_pmi2 = task;
  with_pmix["PMIX_RANK"] = "1";
  expect(with(with_pmix), Kind::slurm, true, 1, 4);
  with_pmi2["PMI_RANK"] = "1";
  with_pmi2["PMI_SIZE"] = "4";
  expect(with(with_pmi2), Kind::slurm, true, 1, 4);
}

TEST(Launcher, MpirunOfAnotherMpi) {
  expect(with({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}), Kind::other, true, 1, 2);
  expect(with({{"PMIX_RANK", "nonsense"}}), Kind::other, true, 0, 0);
}

TEST(Launcher, SaysWhatToTypeWhenEachProcessIsAJob) {
  EXPECT_THAT(
      singletons_message({.kind = Kind::slurm, .num_tasks = 4}),
      testing::AllOf(HasSubstr("srun started 4 processes"), HasSubstr("srun --mpi=pmix"), HasSubstr("launch/run")));
  EXPECT_THAT(singletons_message({.kind = Kind::other, .num_tasks = 2}),
              testing::AllOf(HasSubstr("the mpirun of another MPI started 2"), HasSubstr("mpirun of the Open MPI")));
}

}  // namespace
}  // namespace echelon
