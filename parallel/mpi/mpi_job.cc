// Start and end of an MPI job, hosts, barrier, and the exchange that the control channel needs.
#include "parallel/mpi/mpi_job.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "parallel/control/socket_control.h"
#include "parallel/end_job.h"
#include "parallel/mpi/mpi_call.h"
#include "parallel/shared_memory/shared_memory.h"

namespace echelon {
namespace {

constexpr int kTagArrive = 1, kTagRelease = 2;
constexpr unsigned kFinalizeSeconds = 5;
constexpr size_t kHostNameBytes = 256, kBootIdBytes = 64, kAddressBytes = 128, kMaxTextBytes = 1 << 20;

/// A launcher that leaves the job alone when a rank has died leaves it alone after MPI_Abort, too.
bool launcher_recovers() {
  const char* recovery = std::getenv("OMPI_MCA_orte_enable_recovery");
  return recovery != nullptr && std::string_view(recovery) == "1";
}

/// Its daemon on this host, whose end is the end of the job on every host.
void abort_all(int exit_code) {
  if (launcher_recovers()) {
    ::kill(getppid(), SIGTERM);
    _exit(exit_code);  // the daemon waits a second for those that do not
  }
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

/// Hosts are told apart by name and by boot: containers of different hosts may share a name.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

template <typename Chars>
std::string text_of(const Chars& chars) {
  return {chars.data(), strnlen(chars.data(), chars.size())};
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
  cores_given_ = bound_cores();
  cores_ = widen_binding();
  check_tags();
  find_ranks();
  remove_stale_shared_memory();
}

/// With lost ranks MPI_Finalize may wait for them for ever. On one host mpirun does without it; on several it does not.
MpiJob::~MpiJob() {
  if (!finished_ || (has_losses_ && on_one_host())) return;
  if (has_losses_) alarm(kFinalizeSeconds);
  MPI_Finalize();
  alarm(0);
}

/// What every rank tells all others at start. Rank 0's id and secret are the job's.
struct RankCard {
  std::array<char, kHostNameBytes> host_name{};
  std::array<char, kBootIdBytes> boot{};
  int64_t process = 0;
  CoreSet cores;
  uint64_t job_id = 0;
  JobSecret secret{};
};

void MpiJob::find_ranks() {
  RankCard mine{.process = getpid(), .cores = cores_};
  gethostname(mine.host_name.data(), kHostNameBytes - 1);
  boot_id().copy(mine.boot.data(), kBootIdBytes - 1);
  if (rank_ == 0) {
    fill_random(std::as_writable_bytes(std::span(&mine.job_id, 1)));
    fill_random(mine.secret);
  }
  std::vector<char> bytes(sizeof(mine));
  std::memcpy(bytes.data(), &mine, sizeof(mine));
  bytes = all_gather("telling hosts", std::move(bytes));
  std::vector<CoreSet> cores_of_rank;
  std::map<std::string, int> number_of_host;
  for (int r = 0; r < size_; ++r) {
    RankCard card;
    std::memcpy(&card, bytes.data() + static_cast<size_t>(r) * sizeof(card), sizeof(card));
    const std::string name = text_of(card.host_name);
    std::string key = name + '\n' + text_of(card.boot);
    if (options_.ranks_per_host > 0) key += fmt::format("\n{}", r / options_.ranks_per_host);
    host_of_rank_.push_back(number_of_host.try_emplace(key, static_cast<int>(number_of_host.size())).first->second);
    host_names_.push_back(name);
    process_of_rank_.push_back(card.process);
    cores_of_rank.push_back(card.cores);
    if (r != 0) continue;
    job_id_ = card.job_id;
    secret_ = card.secret;
  }
  for (int r = 0; r < size_; ++r) {
    if (host_of_rank_[r] == host_of_rank_[rank_]) cores_of_host_ |= cores_of_rank[r];
  }
}

bool MpiJob::on_one_host() const {
  return std::all_of(host_of_rank_.begin(), host_of_rank_.end(), [](int host) { return host == 0; });
}

std::string MpiJob::mpi() const {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> version{};
  int size = 0, level = 0;
  MPI_Get_library_version(version.data(), &size);
  MPI_Query_thread(&level);
  const std::string text = text_of(version);
  return fmt::format("{}, MPI_THREAD_{}", text.substr(0, text.find_first_of(",\n")),
                     level == MPI_THREAD_MULTIPLE ? "MULTIPLE" : "SERIALIZED");
}

/// As many bytes from each.
std::vector<char> MpiJob::all_gather(const std::string& what, std::vector<char> mine) {
  const size_t num_bytes = mine.size() * static_cast<size_t>(size_);
  mpi::Pending pending;
  const size_t index = pending.all_gather(std::move(mine), size_);
  pending.wait(options_.start_timeout_ms,
               [&] { return fmt::format("rank {}: {}: not all of {} ranks have come", rank_, what, size_); });
  return {pending.buffer(index).begin(), pending.buffer(index).begin() + static_cast<std::ptrdiff_t>(num_bytes)};
}

std::vector<uint64_t> MpiJob::exchange_numbers(const std::string& what, uint64_t mine) {
  std::vector<char> bytes(sizeof(mine));
  std::memcpy(bytes.data(), &mine, sizeof(mine));
  bytes = all_gather(what, std::move(bytes));
  std::vector<uint64_t> all(static_cast<size_t>(size_));
  std::memcpy(all.data(), bytes.data(), bytes.size());
  return all;
}

std::vector<std::string> MpiJob::exchange_texts(const std::string& what, const std::string& mine) {
  ECHELON_CHECK(mine.size() <= kMaxTextBytes);
  const std::vector<uint64_t> sizes = exchange_numbers(what, mine.size());
  const uint64_t longest = *std::max_element(sizes.begin(), sizes.end());
  if (longest > kMaxTextBytes)
    throw Error(Part::parallel, fmt::format("{}: a rank announces a text of {} bytes", what, longest));
  std::vector<char> bytes(longest);
  std::copy(mine.begin(), mine.end(), bytes.begin());
  bytes = all_gather(what, std::move(bytes));
  std::vector<std::string> texts;
  for (size_t r = 0; r < sizes.size(); ++r) texts.emplace_back(bytes.data() + r * longest, sizes[r]);
  return texts;
}

void MpiJob::barrier(const std::string& what, int timeout_ms) {
  std::vector<int> others;
  for (int r = 1; r < size_; ++r) others.push_back(r);
  meet(what, timeout_ms, others, 0);
}

/// Rank 0 and `others`, which only rank 0 has to know. By messages, and not MPI_Ibarrier: that cannot say who is
/// missing.
/// Everyone gets rank 0's `word`.
char MpiJob::meet(const std::string& what, int timeout_ms, const std::vector<int>& others, char word) {
  if (rank_ != 0) {
    mpi::Pending pending;
    pending.send({1}, 0, kTagArrive);
    const size_t release = pending.receive(1, 0, kTagRelease);
    // Rank 0 gives up first, because it can name the others.
    constexpr int kGraceMs = 2'000;
    pending.wait(timeout_ms + kGraceMs,
                 [&] { return fmt::format("rank {}: {}: rank 0 did not let the ranks go on", rank_, what); });
    return pending.buffer(release)[0];
  }
  mpi::Pending arrivals;
  for (const int r : others) arrivals.receive(1, r, kTagArrive);
  arrivals.wait(timeout_ms, [&] {
    std::vector<int> missing;
    for (size_t i = 0; i < others.size(); ++i) {
      if (!arrivals.done(i)) missing.push_back(others[i]);
    }
    return fmt::format("{}: {} of {} ranks have not come: {}", what, missing.size(), size_,
                       list_ranks(missing, host_names_));
  });
  mpi::Pending releases;
  for (const int r : others) releases.send({word}, r, kTagRelease);
  releases.wait(timeout_ms, [&] { return fmt::format("{}: the ranks did not take the signal to go on", what); });
  return word;
}

std::unique_ptr<ControlChannel> MpiJob::make_control() {
  const ControlTimes times = on_one_host() ? ControlTimes::one_host() : ControlTimes::between_hosts();
  const ControlIdentity identity{.rank = rank_, .size = size_, .job_id = job_id_, .secret = secret_};
  std::unique_ptr<FrontControl> front;
  std::vector<char> address(kAddressBytes);
  if (rank_ == 0) {
    const ControlEndpoint endpoint{on_one_host() ? std::string() : choose_ip_address(options_.interface)};
    front = std::make_unique<FrontControl>(identity, times, endpoint);
    ECHELON_CHECK(front->address().size() < address.size());
    front->address().copy(address.data(), address.size());
  }
  mpi::Pending pending;
  const size_t index = pending.broadcast(std::move(address), 0);
  pending.wait(options_.start_timeout_ms,
               [&] { return fmt::format("rank {}: the control channel's address did not come from rank 0", rank_); });
  if (rank_ == 0) return front;
  return std::make_unique<WorkerControl>(identity, times, text_of(pending.buffer(index)));
}

void MpiJob::kill_process(int rank) {
  if (rank == rank_ || host_of_rank_.at(rank) != host_of_rank_[rank_]) return;
  const auto process = static_cast<pid_t>(process_of_rank_.at(rank));
  // The number may belong to another by now, or lie in another container.
  std::error_code unknown;
  const auto program = std::filesystem::read_symlink(fmt::format("/proc/{}/exe", process), unknown);
  if (!unknown && program == std::filesystem::read_symlink("/proc/self/exe", unknown) && !unknown)
    ::kill(process, SIGKILL);
}

void MpiJob::finish(const std::vector<int>& lost) {
  ECHELON_CHECK(!finished_, "finish() was called twice");
  std::vector<int> others;
  for (int r = 1; r < size_; ++r) {
    if (std::find(lost.begin(), lost.end(), r) == lost.end()) others.push_back(r);
  }
  has_losses_ = meet("the end of the job", options_.start_timeout_ms, others, lost.empty() ? 0 : 1) != 0;
  finished_ = true;
}

}  // namespace echelon
