// Making a group without a message: names and tags follow from its id, the first member on each host creates the window
// and the others open it, links to other hosts go over MPI. So a group of the ranks that are left needs none that is
// lost, and nothing that was sent in an older group reaches it.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "parallel/local/local_group.h"
#include "parallel/mpi/mpi_call.h"
#include "parallel/mpi/mpi_job.h"
#include "parallel/mpi/mpi_link.h"
#include "parallel/shared_memory/window_communicator.h"

namespace echelon {
namespace {

constexpr int kFirstGroupTag = 1 << 14, kGroupsOfEpoch = kMaxRanks + 1;
constexpr uint32_t kLastEpoch = ((1 << 25) - kFirstGroupTag) / kGroupsOfEpoch - 1;

/// Polls for what another member of this host has to do.
class Meeting {
 public:
  Meeting(std::string what, int timeout_ms, std::stop_token given_up)
      : what_(std::move(what)), given_up_(std::move(given_up)), timeout_ms_(timeout_ms) {}

  template <typename HasHappened>
  void wait(HasHappened&& has_happened, const char* missing) {
    while (!has_happened()) {
      if (given_up_.stop_requested())
        throw CommunicatorError(Part::parallel, fmt::format("making {} was given up", what_));
      if (Clock::now() - begin_ > std::chrono::milliseconds(timeout_ms_))
        throw CommunicatorError(Part::parallel, fmt::format("making {}: {} within {} ms", what_, missing, timeout_ms_));
      std::this_thread::sleep_for(kBetweenLooks);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kBetweenLooks{200};
  const std::string what_;
  const std::stop_token given_up_;
  const int timeout_ms_;
  const Clock::time_point begin_ = Clock::now();
};

/// The window of the members on this host, which all of them have opened; the first creates it.
std::shared_ptr<SharedMemory> share_memory(Meeting& meeting, const std::string& name, bool is_first,
                                           const WindowSizes& sizes) {
  if (is_first) {
    auto memory = std::make_shared<SharedMemory>(SharedMemory::create(name, sizes.total_bytes()));
    const Window window(memory->data(), sizes);
    const auto num_others = static_cast<uint32_t>(sizes.num_members - 1);
    meeting.wait([&] { return window.num_opened().load(std::memory_order_acquire) >= num_others; },
                 "not all ranks of this host have opened its shared memory");
    memory->unlink();
    return memory;
  }
  std::shared_ptr<SharedMemory> memory;
  try {
    meeting.wait(
        [&] {
          if (auto opened = SharedMemory::open(name, sizes.total_bytes()))
            memory = std::make_shared<SharedMemory>(std::move(*opened));
          return memory != nullptr;
        },
        "the first rank of this host has not created its shared memory (do the ranks share one /dev/shm? containers "
        "need --ipc=host)");
  } catch (const CommunicatorError&) {
    unlink_shared_memory(name);
    throw;
  }
  Window(memory->data(), sizes).num_opened().fetch_add(1, std::memory_order_acq_rel);
  return memory;
}

/// Members on several hosts: windows to those of this host, MPI to the others, polled.
class MixedCommunicator : public StreamCommunicator {
 public:
  struct Parts {
    std::shared_ptr<SharedMemory> memory;  // null when no other member is on this host
    std::unique_ptr<Window> window;
    int local_rank = 0;
  };
  MixedCommunicator(Parts parts, int rank, std::vector<std::unique_ptr<Link>> links, WaitTimes times)
      : StreamCommunicator(rank, std::move(links), std::make_unique<mpi::MpiSleeper>(),
                           {.timeout_ms = times.timeout_ms, .spin_us = 0}),
        parts_(std::move(parts)) {}
  ~MixedCommunicator() override { close(); }
  void abandon(const std::string& reason) override {
    StreamCommunicator::abandon(reason);
    close();
  }

 private:
  void close() {
    if (parts_.window == nullptr) return;
    parts_.window->bell(parts_.local_rank).closed.store(1, std::memory_order_seq_cst);
    parts_.window->ring_all_bells(parts_.local_rank);
  }

  Parts parts_;
};

}  // namespace

std::unique_ptr<Communicator> MpiJob::make_communicator(const std::vector<int>& members, GroupId id, WaitTimes times,
                                                        std::stop_token given_up) {
  for (const int member : members) ECHELON_CHECK(member >= 0 && member < size_, "rank {} of {}", member, size_);
  const auto me = std::find(members.begin(), members.end(), rank_);
  ECHELON_CHECK(me != members.end(), "rank {} makes a group it is not in", rank_);
  ECHELON_CHECK(id.index < kGroupsOfEpoch, "group {} of an epoch", id.index);
  const int group_rank = static_cast<int>(me - members.begin());
  if (members.size() == 1) return make_group_of_one();
  if (id.epoch > kLastEpoch)
    throw CommunicatorError(Part::parallel, fmt::format("the job has begun epoch {}, MPI has no tag for it", id.epoch));
  const int tag = kFirstGroupTag + static_cast<int>(id.epoch) * kGroupsOfEpoch + static_cast<int>(id.index);

  std::vector<int> local;
  for (const int member : members) {
    if (host_of_rank_[member] == host_of_rank_[rank_]) local.push_back(member);
  }
  const int local_rank = static_cast<int>(std::find(local.begin(), local.end(), rank_) - local.begin());
  const WindowSizes sizes = WindowSizes::for_members(static_cast<int>(local.size()));
  std::shared_ptr<SharedMemory> memory;
  if (local.size() > 1) {
    Meeting meeting(fmt::format("group {} of epoch {} on rank {}", id.index, id.epoch, rank_),
                    options_.start_timeout_ms, std::move(given_up));
    const std::string name =
        shared_memory_name(fmt::format("{:016x}-{}-{}-{}", job_id_, id.epoch, id.index, local.front()));
    memory = share_memory(meeting, name, local_rank == 0, sizes);
  }
  if (local.size() == members.size())
    return std::make_unique<WindowCommunicator>(std::move(memory), sizes, local_rank, times);

  MixedCommunicator::Parts parts{.memory = memory, .window = nullptr, .local_rank = local_rank};
  if (memory != nullptr) parts.window = std::make_unique<Window>(memory->data(), sizes);
  std::vector<std::unique_ptr<Link>> links(members.size());
  for (size_t i = 0; i < members.size(); ++i) {
    if (members[i] == rank_) continue;
    const auto on_host = std::find(local.begin(), local.end(), members[i]);
    if (on_host != local.end()) {
      links[i] = std::make_unique<WindowLink>(*parts.window, local_rank, static_cast<int>(on_host - local.begin()));
    } else {
      links[i] = std::make_unique<mpi::MpiLink>(members[i], tag);
    }
  }
  return std::make_unique<MixedCommunicator>(std::move(parts), group_rank, std::move(links), times);
}

}  // namespace echelon
