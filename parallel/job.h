// The ranks that were started together: who they are, where they run, and the channels between them. One class for a
// job under mpirun or srun, one for a plain process that never touches MPI.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/control_channel.h"
#include "parallel/cores.h"
#include "parallel/patience.h"

namespace echelon {

struct JobOptions {
  int start_timeout_ms = 60'000;  ///< for every collective step of the start; it ends with who is missing
  std::string
      interface;  ///< name or address the control channel binds to between hosts; empty: the first that is not loopback
  int ranks_per_host =
      0;  ///< to try several hosts on one machine: so many ranks count as a host each; 0: the real hosts
};

/// One thread (the one that created it) makes all calls and uses the communicators. Communicators and control channels
/// are destroyed before the job.
class Job {
 public:
  virtual ~Job() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Equal numbers for ranks of one host, for Layout.
  virtual const std::vector<int>& host_of_rank() const = 0;
  virtual const std::string& host_name(int rank) const = 0;

  /// As the launcher bound this rank, and what it may use: more when it was bound to one core.
  virtual const CoreSet& cores_given() const = 0;
  virtual const CoreSet& cores() const = 0;
  /// How many cores the ranks of this host may use together.
  virtual int num_cores_of_host() const = 0;
  /// "Open MPI v4.1.4, MPI_THREAD_SERIALIZED"; empty without MPI.
  virtual std::string mpi() const = 0;

  /// All ranks. Throws Error(Part::parallel) naming `what` and the ranks that have not come in time.
  virtual void barrier(const std::string& what, int timeout_ms) = 0;
  /// All ranks: everyone's number, by rank. Throws Error(Part::parallel) naming `what` after start_timeout_ms.
  virtual std::vector<uint64_t> exchange_numbers(const std::string& what, uint64_t mine) = 0;
  /// Likewise texts, of at most 1 MiB each.
  virtual std::vector<std::string> exchange_texts(const std::string& what, const std::string& mine) = 0;
  /// As MakeGroup says. Shared memory between ranks of one host, MPI between hosts.
  virtual std::unique_ptr<Communicator> make_communicator(const std::vector<int>& members, GroupId id,
                                                          WaitTimes times = {}, std::stop_token given_up = {}) = 0;
  /// All ranks; once. The channel is not started: start() connects it and names who is missing.
  virtual std::unique_ptr<ControlChannel> make_control() = 0;
  /// Ends the process of a rank that is taken for dead but may only be stopped: a launcher waits for it for ever.
  /// Nothing for ranks of other hosts, and where the process is not one of this program. From any thread.
  virtual void kill_process(int rank) = 0;
  /// The orderly end, for all ranks but those that are lost (which only rank 0 has to know). Without it (after a fault)
  /// the job ends by end_job().
  virtual void finish(const std::vector<int>& lost = {}) = 0;
};

/// Under a launcher: starts MPI (and asks to die with the parent). Otherwise the job of this one process; MPI is not
/// called. Sets process_rank(). Throws Error(Part::parallel); where each of several processes is a job of its own for
/// MPI, on the first of them, and the others end without a word.
std::unique_ptr<Job> start_job(const JobOptions& options = {});

}  // namespace echelon
