// The bytes that are counted before a communicator is made are those that it takes.
#include "parallel/communicator_memory.h"

#include <gtest/gtest.h>

#include "parallel/shared_memory/window.h"

namespace echelon {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(CommunicatorMemory, MembersOfOneHostShareOneWindow) {
  const std::vector<int> one_host(6, 0);
  EXPECT_EQ(communicator_memory({3}, 0, one_host).total(), 0u);
  for (const std::vector<int>& members : {std::vector<int>{0, 1}, {1, 3, 5}, {0, 1, 2, 3, 4, 5}}) {
    uint64_t total = 0;
    for (int i = 0; i < static_cast<int>(members.size()); ++i) {
      const CommunicatorMemory memory = communicator_memory(members, i, one_host);
      EXPECT_EQ(memory.links, 0u);
      total += memory.window;
    }
    const uint64_t window = WindowSizes::for_members(static_cast<int>(members.size())).total_bytes();
    EXPECT_GE(total, window);
    EXPECT_LT(total, window + members.size());
  }
}

TEST(CommunicatorMemory, EachMemberOnAnotherHostCostsSixPiecesOfALink) {
  const std::vector<int> hosts{0, 0, 1, 2};
  const std::vector<int> all{0, 1, 2, 3};
  EXPECT_EQ(communicator_memory(all, 0, hosts).links, 2 * 6 * kMiB / 4);
  EXPECT_EQ(communicator_memory(all, 0, hosts).window, (WindowSizes::for_members(2).total_bytes() + 1) / 2);
  EXPECT_EQ(communicator_memory(all, 3, hosts).links, 3 * 6 * kMiB / 4);
  EXPECT_EQ(communicator_memory(all, 3, hosts).window, 0u);
}

}  // namespace
}  // namespace echelon
