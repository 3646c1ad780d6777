// Ranks take turns: each has its turn with the rank before it, then with the one behind it, so no two links share a
// core or a cable.
#include "launch/doctor/trial.h"

#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"

namespace echelon {
namespace {

constexpr uint32_t kEpoch = 1;
constexpr int kShortRounds = 200, kLongRounds = 8, kWarmUp = 20;
constexpr size_t kShortBytes = 64, kLongBytes = 1 << 20;

/// Between hosts MPI chooses; what its variables leave no choice in is said.
std::string way_of_mpi() {
  const char* pml = std::getenv("OMPI_MCA_pml");
  const char* btl = std::getenv("OMPI_MCA_btl");
  const bool is_tcp = pml != nullptr && std::string_view(pml) == "ob1" && btl != nullptr &&
                      std::string_view(btl).find("tcp") != std::string_view::npos;
  return is_tcp ? "MPI over TCP" : "MPI";
}

/// Seconds of so many messages there and back.
double ping(Communicator& group, int peer, std::vector<std::byte>& bytes, int rounds) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) {
    group.send(peer, bytes);
    group.receive(peer, bytes);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void echo(Communicator& group, int peer, std::vector<std::byte>& bytes, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    group.receive(peer, bytes);
    group.send(peer, bytes);
  }
}

}  // namespace

std::string try_control(Job& job, int timeout_ms) {
  try {
    const auto control = job.make_control();
    control->start({.on_message = [](int, ControlMessage) {},
                    .on_lost = [](int, const std::string&) {},
                    .on_dropped = [](const std::string&) {}});
    job.barrier("connecting the control channel", timeout_ms);
    control->close();
    return "";
  } catch (const Error& fault) {
    return fault.what();
  }
}

LinkFacts try_link(Job& job, int timeout_ms) {
  LinkFacts link;
  const int rank = job.rank();
  const std::vector<int>& hosts = job.host_of_rank();
  if (job.size() == 1) return link;
  if (rank > 0) link.way = hosts[rank] == hosts[rank - 1] ? "shared memory" : way_of_mpi();
  std::vector<int> all(static_cast<size_t>(job.size()));
  std::iota(all.begin(), all.end(), 0);
  try {
    const auto group = job.make_communicator(all, {.epoch = kEpoch, .index = 0}, {.timeout_ms = timeout_ms}, {});
    std::vector<std::byte> few(kShortBytes), many(kLongBytes);
    if (rank > 0) {
      ping(*group, rank - 1, few, kWarmUp);
      link.us = 1e6 * ping(*group, rank - 1, few, kShortRounds) / (2 * kShortRounds);
      link.bytes_per_s = 2.0 * kLongRounds * kLongBytes / ping(*group, rank - 1, many, kLongRounds);
    }
    if (rank + 1 < job.size()) {
      echo(*group, rank + 1, few, kWarmUp + kShortRounds);
      echo(*group, rank + 1, many, kLongRounds);
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (group->progress() && std::chrono::steady_clock::now() < deadline) {
    }
    job.barrier("trying the links", timeout_ms);
  } catch (const Error& fault) {
    link.fault = fault.what();
  }
  return link;
}

}  // namespace echelon
