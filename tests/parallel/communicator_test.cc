// What every communicator must do, on ranks that are threads: bytes arrive unchanged and in order whatever the sizes
// and the interleaving, rings wrap around, and every kind of wait ends when it is abandoned, late, or damaged.
#include "parallel/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "parallel/local/local_group.h"
#include "parallel/shared_memory/window_communicator.h"

namespace echelon {
namespace {

using Bytes = std::vector<std::byte>;

/// The bytes that `from` sends to `to` as its message `number`; the naive model both sides compare with.
Bytes pattern(int from, int to, int number, size_t num_bytes) {
  std::mt19937 random(from * 7919 + to * 104729 + number);
  Bytes bytes(num_bytes);
  for (size_t i = 0; i < num_bytes; i += 4) {
    const uint32_t word = random();
    std::memcpy(bytes.data() + i, &word, std::min<size_t>(4, num_bytes - i));
  }
  return bytes;
}

/// Runs body(rank) on one thread per rank and rethrows the first exception after all have ended.
void on_all_ranks(int num_ranks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::exception_ptr first;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(rank);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!first) first = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const CommunicatorError& error) {
    return error.what();
  }
  return "";
}

std::vector<std::span<std::byte>> views(std::vector<Bytes>& parts) { return {parts.begin(), parts.end()}; }
std::vector<std::span<const std::byte>> const_views(const std::vector<Bytes>& parts) {
  return {parts.begin(), parts.end()};
}

constexpr WaitTimes kPatient{.timeout_ms = 60'000};
constexpr WindowSizes kTinyRings3{.num_members = 3, .ring_bytes = 64, .slot_bytes = 128};

void check_all_gather(Communicator& group, int number, const std::vector<size_t>& sizes) {
  std::vector<Bytes> out(group.size());
  for (int r = 0; r < group.size(); ++r) out[r].resize(sizes[r]);
  group.all_gather(pattern(group.rank(), -1, number, sizes[group.rank()]), views(out));
  for (int r = 0; r < group.size(); ++r)
    ASSERT_TRUE(out[r] == pattern(r, -1, number, sizes[r])) << "part of rank " << r;
}

void check_all_to_all(Communicator& group, int number, const std::function<size_t(int, int)>& size_of) {
  const int me = group.rank();
  std::vector<Bytes> mine, out(group.size());
  for (int r = 0; r < group.size(); ++r) {
    mine.push_back(pattern(me, r, number, size_of(me, r)));
    out[r].resize(size_of(r, me));
  }
  group.all_to_all(const_views(mine), views(out));
  for (int r = 0; r < group.size(); ++r)
    ASSERT_TRUE(out[r] == pattern(r, me, number, size_of(r, me))) << "part of rank " << r;
}

class CommunicatorSizes : public testing::TestWithParam<int> {};

TEST_P(CommunicatorSizes, AllSizesArriveUnchanged) {
  const int num_ranks = GetParam();
  const auto group = make_local_group(num_ranks, kPatient);
  const size_t sizes[] = {0, 1, 7, 8, 2048, 4096, 65535, 65536, 65537, 262144, 262145, 1'000'003, 5'000'000};
  on_all_ranks(num_ranks, [&](int rank) {
    Communicator& mine = *group[rank];
    EXPECT_EQ(mine.rank(), rank);
    EXPECT_EQ(mine.size(), num_ranks);
    int number = 0;
    for (const size_t size : sizes) {
      ++number;
      if (num_ranks > 1) {  // a ring around the group; rank 0 receives first, so that a full ring cannot stop everyone
        const int next = (rank + 1) % num_ranks, before = (rank + num_ranks - 1) % num_ranks;
        Bytes in(size);
        if (rank == 0) mine.receive(before, in);
        mine.send(next, pattern(rank, next, number, size));
        if (rank != 0) mine.receive(before, in);
        ASSERT_TRUE(in == pattern(before, rank, number, size)) << size;
      }
      std::vector<size_t> parts(num_ranks);
      for (int r = 0; r < num_ranks; ++r) parts[r] = size / (r + 1);
      check_all_gather(mine, number, parts);
      check_all_to_all(mine, number, [&](int from, int to) { return to % 2 == 0 ? size : size / (from + 2); });
    }
  });
}
INSTANTIATE_TEST_SUITE_P(Ranks, CommunicatorSizes, testing::Values(1, 2, 3, 6));

struct Small {
  WindowSizes sizes;
  WaitTimes times;
};
class CommunicatorInterleavings : public testing::TestWithParam<Small> {};

/// The same random script on every rank; matching sizes come from the shared seed. Ranks run it at their own pace.
TEST_P(CommunicatorInterleavings, RandomScriptsMatchTheModel) {
  const int num_ranks = GetParam().sizes.num_members;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    const auto group = make_local_group(GetParam().sizes, GetParam().times);
    on_all_ranks(num_ranks, [&](int rank) {
      Communicator& mine = *group[rank];
      std::mt19937 script(seed);
      std::mt19937 pace(seed * 31 + rank);
      const auto size = [&] { return script() % 3 == 0 ? script() % 5000 : script() % 160; };
      for (int number = 0; number < 150; ++number) {
        if (pace() % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(pace() % 300));
        switch (script() % 4) {
          case 0: {
            const int from = script() % num_ranks, to = (from + 1 + script() % (num_ranks - 1)) % num_ranks;
            const size_t num_bytes = size();
            if (rank == from) mine.send(to, pattern(from, to, number, num_bytes));
            if (rank == to) {
              Bytes in(num_bytes);
              mine.receive(from, in);
              ASSERT_TRUE(in == pattern(from, to, number, num_bytes));
            }
            break;
          }
          case 1: {
            std::vector<size_t> parts(num_ranks);
            for (size_t& part : parts) part = size();
            ASSERT_NO_FATAL_FAILURE(check_all_gather(mine, number, parts));
            break;
          }
          case 2: {
            const uint32_t salt = script();
            ASSERT_NO_FATAL_FAILURE(check_all_to_all(
                mine, number, [&](int from, int to) { return std::mt19937(salt + from * 64 + to)() % 900; }));
            break;
          }
          default: {  // several messages before the first is read
            const size_t a = script() % 20, b = script() % 20;
            if (rank == 1) {
              mine.send(0, pattern(1, 0, number, a));
              mine.send(0, pattern(1, 0, number + 1000, b));
            }
            if (rank == 0) {
              Bytes first(a), second(b);
              mine.receive(1, first);
              mine.receive(1, second);
              ASSERT_TRUE(first == pattern(1, 0, number, a) && second == pattern(1, 0, number + 1000, b));
            }
          }
        }
      }
    });
  }
}
INSTANTIATE_TEST_SUITE_P(Windows, CommunicatorInterleavings,
                         testing::Values(Small{kTinyRings3, {.timeout_ms = 60'000, .spin_us = 0}},
                                         Small{kTinyRings3, {.timeout_ms = 60'000, .spin_us = 20}},
                                         Small{{.num_members = 2, .ring_bytes = 128, .slot_bytes = 64},
                                               {.timeout_ms = 60'000, .spin_us = 5}},
                                         Small{{.num_members = 5, .ring_bytes = 1024, .slot_bytes = 1024},
                                               {.timeout_ms = 60'000, .spin_us = 0}}));

TEST(Communicator, AMessageOfAnotherSizeIsAnError) {
  const auto group = make_local_group(2, kPatient);
  group[0]->send(1, Bytes(10));
  Bytes in(11);
  const std::string text = error_of([&] { group[1]->receive(0, in); });
  EXPECT_THAT(text, testing::HasSubstr("10 bytes came from rank 0"));
  EXPECT_THAT(text, testing::HasSubstr("11 bytes was due"));
}

TEST(Communicator, AGatheredPartOfAnotherSizeIsAnError) {
  const auto group = make_local_group(2, kPatient);
  on_all_ranks(2, [&](int rank) {
    std::vector<Bytes> out(2, Bytes(8));
    if (rank == 1) out[0].resize(9);
    const std::string text = error_of([&] { group[rank]->all_gather(out[rank], views(out)); });
    EXPECT_EQ(text.empty(), rank == 0) << text;
  });
}

/// Every kind of wait, as a call that cannot finish because the other ranks do nothing.
std::vector<std::pair<std::string, std::function<void(Communicator&)>>> waits() {
  return {
      {"receive",
       [](Communicator& c) {
         Bytes in(8);
         c.receive(1, in);
       }},
      {"send", [](Communicator& c) { c.send(1, Bytes(1'000'000)); }},
      {"all_gather",
       [](Communicator& c) {
         std::vector<Bytes> out(3, Bytes(8));
         c.all_gather(out[0], views(out));
       }},
      {"all_to_all small",
       [](Communicator& c) {
         std::vector<Bytes> a(3, Bytes(8)), b = a;
         c.all_to_all(const_views(a), views(b));
       }},
      {"all_to_all large",
       [](Communicator& c) {
         std::vector<Bytes> a(3, Bytes(500'000)), b = a;
         c.all_to_all(const_views(a), views(b));
       }},
  };
}

TEST(Communicator, AbandonEndsEveryKindOfWait) {
  for (const int spin_us : {0, 1'000'000}) {
    for (const auto& [name, call] : waits()) {
      const auto group = make_local_group(3, {.timeout_ms = 60'000, .spin_us = spin_us});
      std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        group[0]->abandon("rank 2 was lost");
      });
      const std::string text = error_of([&] { call(*group[0]); });
      other.join();
      EXPECT_THAT(text, testing::HasSubstr("abandoned: rank 2 was lost")) << name;
      EXPECT_THAT(text, testing::HasSubstr(name.substr(0, name.find(' '))));
      EXPECT_NE(error_of([&] { call(*group[0]); }), "") << name << ": later waits must throw as well";
    }
  }
}

TEST(Communicator, DeadlineEndsEveryKindOfWait) {
  for (const auto& [name, call] : waits()) {
    const auto group = make_local_group(3, {.timeout_ms = 30});
    EXPECT_THAT(error_of([&] { call(*group[0]); }), testing::HasSubstr("nothing came for 30 ms")) << name;
  }
}

TEST(Communicator, APeerThatLeavesEndsEveryKindOfWait) {
  for (const auto& [name, call] : waits()) {
    auto group = make_local_group(3, kPatient);
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      group[1].reset();
    });
    const std::string text = error_of([&] { call(*group[0]); });
    other.join();
    EXPECT_THAT(text, testing::HasSubstr("rank 1 has left")) << name << ": " << text;
  }
}

TEST(Communicator, WhatWasSentBeforeLeavingIsRead) {
  auto group = make_local_group(2, kPatient);
  group[1]->send(0, pattern(1, 0, 5, 3000));
  group[1].reset();
  Bytes in(3000);
  group[0]->receive(1, in);
  EXPECT_TRUE(in == pattern(1, 0, 5, 3000));
  EXPECT_NE(error_of([&] { group[0]->receive(1, in); }), "");
}

TEST(Window, ADamagedWindowIsAnErrorAndNotACrash) {
  std::mt19937_64 random(3);
  const WindowSizes sizes{.num_members = 2, .ring_bytes = 256, .slot_bytes = 256};
  int num_errors = 0;
  for (int round = 0; round < 400; ++round) {
    auto memory = std::make_shared<SharedMemory>(SharedMemory::anonymous(sizes.total_bytes()));
    WindowCommunicator mine(memory, sizes, 0, {.timeout_ms = 2, .spin_us = 0});
    for (uint64_t i = 0; i + 8 <= sizes.total_bytes(); i += 8) {
      const uint64_t word = random() >> (random() % 64);
      if (random() % 3 == 0) std::memcpy(memory->data() + i, &word, 8);
    }
    Window(memory->data(), sizes).bell(1).closed.store(round % 2);
    std::vector<Bytes> parts(2, Bytes(40)), out(2, Bytes(40));
    Bytes in(300);
    for (const std::function<void()>& call : std::vector<std::function<void()>>{
             [&] { mine.receive(1, in); }, [&] { mine.send(1, in); }, [&] { mine.all_gather(parts[0], views(out)); },
             [&] { mine.all_to_all(const_views(parts), views(out)); }}) {
      num_errors += !error_of(call).empty();
    }
  }
  EXPECT_GT(num_errors, 1200);
}

TEST(Window, SizesStayReasonableForManyMembers) {
  for (const int num_members : {1, 2, 6, 24, 64, 128}) {
    const WindowSizes sizes = WindowSizes::for_members(num_members);
    EXPECT_LE(sizes.total_bytes(), uint64_t{320} << 20) << num_members;
    EXPECT_GE(sizes.ring_bytes, 16384u);
  }
}

std::string test_memory_name() {
  static int number = 0;
  return shared_memory_name("test-" + std::to_string(getpid()) + "-" + std::to_string(++number));
}

TEST(SharedMemory, TwoMappingsSeeEachOtherAndTheNameGoes) {
  const std::string name = test_memory_name();
  SharedMemory first = SharedMemory::create(name, 5000);
  SharedMemory second = std::move(*SharedMemory::open(name, 5000));
  first.unlink();
  first.data()[4999] = std::byte{42};
  EXPECT_EQ(second.data()[4999], std::byte{42});
  EXPECT_FALSE(SharedMemory::open(name, 5000).has_value());
}

TEST(SharedMemory, RefusesWrongSizeAndTooMuch) {
  const std::string name = test_memory_name();
  const SharedMemory memory = SharedMemory::create(name, 5000);
  EXPECT_THROW(SharedMemory::open(name, 6000), Error);
  EXPECT_THROW(SharedMemory::create(name, 5000), Error);
  try {
    SharedMemory::create(test_memory_name(), std::filesystem::space("/dev/shm").free + (uint64_t{1} << 30));
    GTEST_FAIL() << "more than /dev/shm has was granted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("MiB in /dev/shm, but"));
  }
}

}  // namespace
}  // namespace echelon
