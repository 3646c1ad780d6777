// Making a group: its first member numbers it, the first member on each host creates the window, links to other hosts
// go over MPI. Bootstrap messages between two ranks keep their order, which is why shared groups have to be made in the
// same order.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"
#include "parallel/local/local_group.h"
#include "parallel/mpi/mpi_call.h"
#include "parallel/mpi/mpi_job.h"
#include "parallel/mpi/mpi_link.h"
#include "parallel/shared_memory/window_communicator.h"

namespace echelon {
namespace {

constexpr int kTagGroup = 3, kTagWindow = 4, kTagOpened = 5, kFirstGroupTag = 1 << 14;
constexpr uint32_t kMaxGroupsLed = 4096;
constexpr size_t kWindowNameBytes = 96;

/// Messages that must all come before the deadline of making a group.
class Bootstrap {
 public:
  Bootstrap(int rank, int timeout_ms) : rank_(rank), timeout_ms_(timeout_ms) {}

  void tell(const std::vector<int>& others, const std::vector<char>& bytes, int tag) {
    mpi::Pending pending;
    for (const int other : others) pending.send(bytes, other, tag);
    wait(pending, "telling the members of a group", others);
  }
  std::vector<char> hear(int from, size_t num_bytes, int tag) {
    mpi::Pending pending;
    pending.receive(num_bytes, from, tag);
    wait(pending, "making a group", {from});
    return pending.buffer(0);
  }
  void hear_all(const std::vector<int>& others, int tag) {
    mpi::Pending pending;
    for (const int other : others) pending.receive(1, other, tag);
    wait(pending, "waiting for the members of a group", others);
  }

 private:
  void wait(mpi::Pending& pending, const char* what, const std::vector<int>& others) {
    pending.wait(timeout_ms_, [&] {
      std::string missing;
      for (size_t i = 0; i < others.size(); ++i) {
        if (!pending.done(i)) missing += fmt::format(" {}", others[i]);
      }
      return fmt::format("rank {}: {}: no answer of rank{}", rank_, what, missing);
    });
  }

  const int rank_, timeout_ms_;
};

std::vector<int> all_but_first(const std::vector<int>& ranks) { return {ranks.begin() + 1, ranks.end()}; }

/// The window of the members on this host; `local` are their world ranks, the first creates it.
std::shared_ptr<SharedMemory> share_memory(Bootstrap& bootstrap, const std::vector<int>& local, int rank,
                                           const WindowSizes& sizes) {
  if (local.front() == rank) {
    const std::string name = new_shared_memory_name();
    auto memory = std::make_shared<SharedMemory>(SharedMemory::create(name, sizes.total_bytes()));
    std::vector<char> bytes(kWindowNameBytes);
    ECHELON_CHECK(name.size() < bytes.size());
    std::memcpy(bytes.data(), name.data(), name.size());
    bootstrap.tell(all_but_first(local), bytes, kTagWindow);
    bootstrap.hear_all(all_but_first(local), kTagOpened);
    memory->unlink();
    return memory;
  }
  const std::vector<char> bytes = bootstrap.hear(local.front(), kWindowNameBytes, kTagWindow);
  const std::string name(bytes.data(), strnlen(bytes.data(), bytes.size()));
  auto memory = std::make_shared<SharedMemory>(SharedMemory::open(name, sizes.total_bytes()));
  bootstrap.tell({local.front()}, {1}, kTagOpened);
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

std::unique_ptr<Communicator> MpiJob::make_communicator(const std::vector<int>& members, WaitTimes times) {
  for (const int member : members) ECHELON_CHECK(member >= 0 && member < size_, "rank {} of {}", member, size_);
  const auto me = std::find(members.begin(), members.end(), rank_);
  ECHELON_CHECK(me != members.end(), "rank {} makes a group it is not in", rank_);
  const int group_rank = static_cast<int>(me - members.begin());
  if (members.size() == 1) return make_group_of_one();

  Bootstrap bootstrap(rank_, options_.start_timeout_ms);
  int32_t tag = 0;
  std::vector<char> bytes(sizeof(tag));
  if (group_rank == 0) {
    ECHELON_CHECK(num_groups_led_ < kMaxGroupsLed, "rank {} leads more than {} groups", rank_, kMaxGroupsLed);
    tag = kFirstGroupTag + static_cast<int32_t>(num_groups_led_++) * kMaxRanks + rank_;
    std::memcpy(bytes.data(), &tag, sizeof(tag));
    bootstrap.tell(all_but_first(members), bytes, kTagGroup);
  } else {
    bytes = bootstrap.hear(members[0], sizeof(tag), kTagGroup);
    std::memcpy(&tag, bytes.data(), sizeof(tag));
  }

  std::vector<int> local;
  for (const int member : members) {
    if (host_of_rank_[member] == host_of_rank_[rank_]) local.push_back(member);
  }
  const int local_rank = static_cast<int>(std::find(local.begin(), local.end(), rank_) - local.begin());
  const WindowSizes sizes = WindowSizes::for_members(static_cast<int>(local.size()));
  std::shared_ptr<SharedMemory> memory;
  if (local.size() > 1) memory = share_memory(bootstrap, local, rank_, sizes);
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
