// Two kinds of checks: of one rank alone, said once for all ranks that have the same fault; and of ranks against each
// other.
#include "launch/doctor/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "kernels/base/limits.h"
#include "parallel/cores.h"
#include "parallel/shared_memory/window.h"

namespace echelon {
namespace {

constexpr int64_t kProcessesOfRank = 100;
constexpr double kMostSkewSeconds = 1;

int ranks_on_host(const std::vector<RankFacts>& ranks, const std::string& host) {
  return static_cast<int>(
      std::count_if(ranks.begin(), ranks.end(), [&](const RankFacts& each) { return each.host == host; }));
}

int num_hosts(const std::vector<RankFacts>& ranks) {
  std::set<std::string> hosts;
  for (const RankFacts& rank : ranks) hosts.insert(rank.host);
  return static_cast<int>(hosts.size());
}

/// "all ranks", "rank 3 (node1)" or "ranks 0-1,5".
std::string names_of(const std::vector<int>& which, const std::vector<RankFacts>& ranks) {
  if (which.size() == 1) return fmt::format("rank {} ({})", which[0], ranks[static_cast<size_t>(which[0])].host);
  if (which.size() == ranks.size()) return "all ranks";
  CoreSet set;  // prints as ranges
  for (const int rank : which) {
    if (rank < CoreSet::kMax) set.add(rank);
  }
  return fmt::format("ranks {}", to_string(set));
}

struct Check {
  bool is_error;
  std::string cure;
  std::function<std::string(const RankFacts&)> fault;  ///< empty: there is none
};

uint64_t window_bytes(int num_members) {
  return num_members > 1 ? WindowSizes::for_members(num_members).total_bytes() : 0;
}

std::vector<Check> errors_of_a_rank(const std::vector<RankFacts>& ranks) {
  const bool many_hosts = num_hosts(ranks) > 1;
  return {
      {true,
       "give the path of a GGUF file or of a Hugging Face folder that every rank can read: a shared file system, "
       "or a copy on each host",
       [](const RankFacts& rank) {
         return rank.model.fault.empty() ? "" : fmt::format("cannot open the model: {}", rank.model.fault);
       }},
      {true, "docker run --shm-size=1g or --ipc=host; on a host: mount -o remount,size=1g /dev/shm",
       [&ranks](const RankFacts& rank) {
         const uint64_t needed = window_bytes(ranks_on_host(ranks, rank.host));
         return rank.shm_free_bytes >= static_cast<int64_t>(needed)
                    ? ""
                    : fmt::format("/dev/shm has {} MiB free, the windows of this host's ranks need {}",
                                  rank.shm_free_bytes >> 20, needed >> 20);
       }},
      {true, "--control-interface NAME, ADDRESS or NETWORK of an interface that is up (ip address)",
       [=](const RankFacts& rank) { return many_hosts ? rank.address_fault : ""; }},
      {true,
       "--control-interface NETWORK of hosts that reach each other; a firewall must let the ports pass "
       "(launch/README.md, Several hosts)",
       [](const RankFacts& rank) {
         return rank.control_fault.empty() ? "" : fmt::format("no control channel: {}", rank.control_fault);
       }},
      {true,
       "inside a host: one /dev/shm for all ranks (docker run --ipc=host); between hosts: --control-interface "
       "NETWORK, and a firewall that lets MPI's ports pass",
       [](const RankFacts& rank) {
         return rank.link.fault.empty() ? "" : fmt::format("no link to other ranks: {}", rank.link.fault);
       }},
  };
}

std::vector<Check> core_warnings(const std::vector<RankFacts>& ranks) {
  return {
      {false,
       "nothing has to be done; to have it from the start: launch/run, mpirun --bind-to none, srun "
       "--cpu-bind=none",
       [](const RankFacts& rank) {
         return rank.cores_given == rank.cores
                    ? ""
                    : fmt::format("the launcher bound it to one core; it took {}", rank.cores);
       }},
      {false, "srun --cpus-per-task=N, sbatch --cpus-per-task=N, docker run --cpuset-cpus",
       [](const RankFacts& rank) {
         return rank.num_cores == 1 && rank.num_cores_of_host > 1
                    ? fmt::format("may use one core of the host's {}", rank.num_cores_of_host)
                    : "";
       }},
      {false, "--threads as many as the quota gives to a rank, or a larger one (docker run --cpus, cpu.max)",
       [](const RankFacts& rank) {
         return rank.core_quota > 0 && rank.core_quota < rank.num_cores_of_ranks
                    ? fmt::format("the cgroup gives {:.1f} cores' worth of time to {} cores", rank.core_quota,
                                  rank.num_cores_of_ranks)
                    : "";
       }},
      {false, "launch/run, which sets it, or OMPI_MCA_mpi_yield_when_idle=1",
       [&ranks](const RankFacts& rank) {
         const int here = ranks_on_host(ranks, rank.host);
         return here > rank.num_cores_of_ranks && rank.num_cores_of_ranks > 0 && !rank.mpi.empty() && !rank.yields
                    ? fmt::format("{} ranks share {} cores, and MPI keeps its core while it waits", here,
                                  rank.num_cores_of_ranks)
                    : "";
       }},
  };
}

std::vector<Check> other_warnings(const std::vector<RankFacts>& ranks) {
  return {
      {false, "copy the model to a disk of each host (sbcast, or cp in the job) and give that path",
       [](const RankFacts& rank) {
         return rank.model.is_remote ? fmt::format("reads its weights over the network ({})", rank.model.file_system)
                                     : "";
       }},
      {false, "ulimit -l unlimited; on Slurm PropagateResourceLimitsExcept=MEMLOCK; docker run --ulimit memlock=-1",
       [](const RankFacts& rank) {
         return rank.fabrics.empty() || rank.locked_bytes < 0
                    ? ""
                    : fmt::format("may lock {} KiB of memory, which a fabric ({}) needs to register",
                                  rank.locked_bytes >> 10, rank.fabrics.front());
       }},
      {false, "ulimit -u of at least 100 for each rank of the host",
       [&ranks](const RankFacts& rank) {
         const int64_t needed = kProcessesOfRank * ranks_on_host(ranks, rank.host);
         return rank.processes < 0 || rank.processes >= needed
                    ? ""
                    : fmt::format("may have {} processes and threads; the host's ranks need {}", rank.processes,
                                  needed);
       }},
  };
}

void apply(const std::vector<Check>& checks, const std::vector<RankFacts>& ranks, std::vector<Finding>& found) {
  for (const Check& check : checks) {
    std::map<std::string, std::vector<int>> who;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (const std::string fault = check.fault(ranks[i]); !fault.empty()) who[fault].push_back(static_cast<int>(i));
    }
    for (const auto& [fault, which] : who)
      found.push_back({check.is_error, fmt::format("{}: {}", names_of(which, ranks), fault), check.cure});
  }
}

/// When ranks do not agree: each value, and whose it is; empty ones do not count.
void compare(const std::vector<RankFacts>& ranks, const std::function<std::string(const RankFacts&)>& value,
             const std::string& what, bool is_error, const std::string& cure, std::vector<Finding>& found) {
  std::map<std::string, std::vector<int>> who;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (const std::string each = value(ranks[i]); !each.empty()) who[each].push_back(static_cast<int>(i));
  }
  if (who.size() < 2) return;
  std::string text = fmt::format("ranks have different {}:", what);
  for (const auto& [each, which] : who) text += fmt::format(" {} on {};", each, names_of(which, ranks));
  text.pop_back();
  found.push_back({is_error, text, cure});
}

void check_clocks(const std::vector<RankFacts>& ranks, std::vector<Finding>& found) {
  const auto [first, last] = std::minmax_element(
      ranks.begin(), ranks.end(), [](const RankFacts& a, const RankFacts& b) { return a.clock_us < b.clock_us; });
  const double skew = 1e-6 * (static_cast<double>(last->clock_us) - static_cast<double>(first->clock_us));
  if (skew > kMostSkewSeconds)
    found.push_back({false, fmt::format("the clock of {} is {:.1f} s before that of {}", last->host, skew, first->host),
                     "chronyc tracking on both; else times in their logs do not fit together"});
}

}  // namespace

std::vector<Finding> find_faults(const std::vector<RankFacts>& ranks, int64_t max_connections) {
  std::vector<Finding> found;
  apply(errors_of_a_rank(ranks), ranks, found);
  compare(
      ranks, [](const RankFacts& rank) { return rank.binary; }, "programs", true,
      "the same build under the same path on every host", found);
  compare(
      ranks,
      [](const RankFacts& rank) {
        return rank.model.fault.empty() ? fmt::format("{} bytes", rank.model.num_bytes) : "";
      },
      "models", true, "the same files on every host", found);
  compare(
      ranks, [](const RankFacts& rank) { return rank.mpi; }, "versions of MPI", false,
      "the same Open MPI on every host", found);
  compare(
      ranks, [](const RankFacts& rank) { return rank.isa; }, "instruction sets", false,
      "the same bits come of all, but the slowest rank sets the pace: hosts of one kind (sbatch --constraint)", found);
  apply(core_warnings(ranks), ranks, found);
  apply(other_warnings(ranks), ranks, found);
  if (ranks[0].connections < max_connections)
    found.push_back({false,
                     fmt::format("rank 0 ({}): open files allow {} of {} connections", ranks[0].host,
                                 ranks[0].connections, max_connections),
                     "ulimit -Hn 65536 on the host of rank 0, or a smaller --max-connections"});
  check_clocks(ranks, found);
  std::stable_partition(found.begin(), found.end(), [](const Finding& each) { return each.is_error; });
  return found;
}

}  // namespace echelon
