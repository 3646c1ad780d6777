// Start and end of an MPI job, hosts, barrier, and the exchange that the control channel needs.
#include "parallel/mpi/mpi_job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "parallel/control/socket_control.h"
#include "parallel/end_job.h"
#include "parallel/mpi/mpi_call.h"
#include "parallel/shared_memory/shared_memory.h"

namespace echelon {
namespace {

constexpr int kTagArrive = 1, kTagRelease = 2;
constexpr size_t kHostNameBytes = 256, kBootIdBytes = 64, kAddressBytes = 128;

void abort_all(int exit_code) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

/// How many tasks the launcher says it has started; 0 when it does not say.
int num_launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    if (const char* text = std::getenv(name)) return std::atoi(text);
  }
  return 0;
}

/// Hosts are told apart by name and by boot: containers of different hosts may share a name.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

std::string text_at(const std::vector<char>& bytes, size_t offset, size_t capacity) {
  return {bytes.data() + offset, strnlen(bytes.data() + offset, capacity)};
}

std::string list_ranks(const std::vector<int>& ranks, const std::vector<std::string>& hosts) {
  constexpr size_t kMaxNamed = 16;
  std::string text;
  for (size_t i = 0; i < std::min(ranks.size(), kMaxNamed); ++i) {
    text += fmt::format("{}{} ({})", i == 0 ? "" : ", ", ranks[i], hosts[ranks[i]]);
  }
  return ranks.size() > kMaxNamed ? fmt::format("{} and {} more", text, ranks.size() - kMaxNamed) : text;
}

/// Groups number their messages beyond what the standard promises; Open MPI gives 2^31 - 1.
void check_tags() {
  constexpr int kNeeded = 1 << 25;
  int* largest = nullptr;
  int found = 0;
  ECHELON_MPI(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &largest, &found));
  if (found == 0 || *largest < kNeeded) {
    throw Error(Part::parallel,
                fmt::format("this MPI has tags up to {}; {} are needed", found == 0 ? 0 : *largest, kNeeded));
  }
}

}  // namespace

MpiJob::MpiJob(const JobOptions& options) : options_(options) {
  int provided = 0;
  ECHELON_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided));
  ECHELON_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  set_job_abort(abort_all);
  ECHELON_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  ECHELON_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size_));
  set_process_rank(rank_);
  if (provided < MPI_THREAD_SERIALIZED) {
    throw Error(Part::parallel, fmt::format("this MPI provides thread level {}; MPI_THREAD_SERIALIZED ({}) is needed: "
                                            "use an Open MPI that was built with "
                                            "threads",
                                            provided, MPI_THREAD_SERIALIZED));
  }
  if (size_ > kMaxRanks)
    throw Error(Part::parallel, fmt::format("{} ranks; at most {} are possible", size_, kMaxRanks));
  if (size_ == 1 && num_launched() > 1) {
    throw Error(Part::parallel, fmt::format("the launcher started {} tasks, but MPI sees one: start with `srun "
                                            "--mpi=pmix`, or with the mpirun of the Open MPI "
                                            "that this program is linked with",
                                            num_launched()));
  }
  check_tags();
  find_hosts();
  remove_stale_shared_memory();
}

MpiJob::~MpiJob() {
  if (finished_) MPI_Finalize();
}

void MpiJob::find_hosts() {
  std::vector<char> mine(kHostNameBytes + kBootIdBytes);
  gethostname(mine.data(), kHostNameBytes - 1);
  const std::string boot = boot_id();
  std::memcpy(mine.data() + kHostNameBytes, boot.data(), std::min(boot.size(), kBootIdBytes - 1));
  const size_t num_each = mine.size();
  mpi::Pending pending;
  const size_t index = pending.all_gather(std::move(mine), size_);
  pending.wait(options_.start_timeout_ms,
               [&] { return fmt::format("rank {}: not all of {} ranks have told their host", rank_, size_); });
  const std::vector<char>& all = pending.buffer(index);
  std::map<std::string, int> number_of_host;
  for (int r = 0; r < size_; ++r) {
    std::string key(all.data() + r * num_each, num_each);
    if (options_.ranks_per_host > 0) key += fmt::format("{}", r / options_.ranks_per_host);
    host_of_rank_.push_back(number_of_host.try_emplace(key, static_cast<int>(number_of_host.size())).first->second);
    host_names_.push_back(text_at(all, r * num_each, kHostNameBytes));
  }
}

bool MpiJob::on_one_host() const {
  return std::all_of(host_of_rank_.begin(), host_of_rank_.end(), [](int host) { return host == 0; });
}

std::vector<uint64_t> MpiJob::exchange_numbers(const std::string& what, uint64_t mine) {
  std::vector<char> bytes(sizeof(mine));
  std::memcpy(bytes.data(), &mine, sizeof(mine));
  mpi::Pending pending;
  const size_t index = pending.all_gather(std::move(bytes), size_);
  pending.wait(options_.start_timeout_ms,
               [&] { return fmt::format("rank {}: {}: not all of {} ranks have come", rank_, what, size_); });
  std::vector<uint64_t> all(static_cast<size_t>(size_));
  std::memcpy(all.data(), pending.buffer(index).data(), all.size() * sizeof(mine));
  return all;
}

void MpiJob::barrier(const std::string& what, int timeout_ms) {
  // Through rank 0 by messages, and not MPI_Ibarrier: that cannot say who is missing.
  if (rank_ != 0) {
    mpi::Pending pending;
    pending.send({1}, 0, kTagArrive);
    pending.receive(1, 0, kTagRelease);
    // Rank 0 gives up first, because it can name the others.
    constexpr int kGraceMs = 2'000;
    pending.wait(timeout_ms + kGraceMs,
                 [&] { return fmt::format("rank {}: {}: rank 0 did not let the ranks go on", rank_, what); });
    return;
  }
  mpi::Pending arrivals;
  for (int r = 1; r < size_; ++r) arrivals.receive(1, r, kTagArrive);
  arrivals.wait(timeout_ms, [&] {
    std::vector<int> missing;
    for (int r = 1; r < size_; ++r) {
      if (!arrivals.done(r - 1)) missing.push_back(r);
    }
    return fmt::format("{}: {} of {} ranks have not come: {}", what, missing.size(), size_,
                       list_ranks(missing, host_names_));
  });
  mpi::Pending releases;
  for (int r = 1; r < size_; ++r) releases.send({1}, r, kTagRelease);
  releases.wait(timeout_ms, [&] { return fmt::format("{}: the ranks did not take the signal to go on", what); });
}

std::unique_ptr<ControlChannel> MpiJob::make_control() {
  const ControlTimes times = on_one_host() ? ControlTimes::one_host() : ControlTimes::between_hosts();
  ControlIdentity identity{.rank = rank_, .size = size_};
  std::unique_ptr<FrontControl> front;
  std::vector<char> told(sizeof(identity.job_id) + sizeof(JobSecret) + kAddressBytes);
  if (rank_ == 0) {
    fill_random(std::as_writable_bytes(std::span(&identity.job_id, 1)));
    fill_random(identity.secret);
    const ControlEndpoint endpoint{on_one_host() ? std::string() : choose_ip_address(options_.interface)};
    front = std::make_unique<FrontControl>(identity, times, endpoint);
    ECHELON_CHECK(front->address().size() < kAddressBytes);
    std::memcpy(told.data(), &identity.job_id, sizeof(identity.job_id));
    std::memcpy(told.data() + sizeof(identity.job_id), identity.secret.data(), identity.secret.size());
    std::memcpy(told.data() + sizeof(identity.job_id) + sizeof(JobSecret), front->address().data(),
                front->address().size());
  }
  mpi::Pending pending;
  const size_t index = pending.broadcast(std::move(told), 0);
  pending.wait(options_.start_timeout_ms,
               [&] { return fmt::format("rank {}: the control channel's address did not come from rank 0", rank_); });
  if (rank_ == 0) return front;
  const std::vector<char>& heard = pending.buffer(index);
  std::memcpy(&identity.job_id, heard.data(), sizeof(identity.job_id));
  std::memcpy(identity.secret.data(), heard.data() + sizeof(identity.job_id), identity.secret.size());
  return std::make_unique<WorkerControl>(identity, times,
                                         text_at(heard, sizeof(identity.job_id) + sizeof(JobSecret), kAddressBytes));
}

void MpiJob::finish() {
  ECHELON_CHECK(!finished_, "finish() was called twice");
  barrier("the end of the job", options_.start_timeout_ms);
  finished_ = true;
}

}  // namespace echelon
