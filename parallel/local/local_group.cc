// Groups inside one process; the memory is owned by the communicators together and goes with the last.
#include "parallel/local/local_group.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "parallel/shared_memory/window_communicator.h"

namespace echelon {
namespace {

class GroupOfOne : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void send(int peer, std::span<const std::byte>) override {
    ECHELON_CHECK(false, "send to {} in a group of one", peer);
  }
  void receive(int peer, std::span<std::byte>) override {
    ECHELON_CHECK(false, "receive from {} in a group of one", peer);
  }
  void all_gather(std::span<const std::byte> mine, std::span<const std::span<std::byte>> out) override {
    ECHELON_CHECK(out.size() == 1);
    copy_own_part(mine, out[0]);
  }
  void all_to_all(std::span<const std::span<const std::byte>> mine,
                  std::span<const std::span<std::byte>> out) override {
    ECHELON_CHECK(mine.size() == 1 && out.size() == 1);
    copy_own_part(mine[0], out[0]);
  }
  void abandon(const std::string&) override {}  // nothing here waits
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local_group(int num_ranks, WaitTimes times) {
  if (num_ranks == 1) {
    std::vector<std::unique_ptr<Communicator>> group;
    group.push_back(make_group_of_one());
    return group;
  }
  return make_local_group(WindowSizes::for_members(num_ranks), times);
}

std::vector<std::unique_ptr<Communicator>> make_local_group(WindowSizes sizes, WaitTimes times) {
  const auto memory = std::make_shared<SharedMemory>(SharedMemory::anonymous(sizes.total_bytes()));
  std::vector<std::unique_ptr<Communicator>> group;
  for (int rank = 0; rank < sizes.num_members; ++rank) {
    group.push_back(std::make_unique<WindowCommunicator>(memory, sizes, rank, times));
  }
  return group;
}

MakeGroup LocalGroups::maker(int rank, WaitTimes times) {
  return [this, rank, times](const std::vector<int>& members, GroupId id, std::stop_token) {
    const auto me = std::find(members.begin(), members.end(), rank);
    ECHELON_CHECK(me != members.end(), "rank {} makes a group it is not in", rank);
    if (members.size() == 1) return make_group_of_one();
    const std::lock_guard lock(mutex_);
    auto& ends = groups_[id];
    if (ends.empty()) ends = make_local_group(static_cast<int>(members.size()), times);
    std::unique_ptr<Communicator> mine = std::move(ends.at(static_cast<size_t>(me - members.begin())));
    ECHELON_CHECK(mine != nullptr, "rank {} makes group {} of epoch {} twice", rank, id.index, id.epoch);
    return mine;
  };
}

std::unique_ptr<Communicator> make_group_of_one() { return std::make_unique<GroupOfOne>(); }

}  // namespace echelon
