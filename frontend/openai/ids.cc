// One generator a thread, seeded from the system. Ids are for logs and clients, not secrets.
#include "frontend/openai/ids.h"

#include <fmt/format.h>

#include <random>

namespace echelon {

uint64_t random_u64() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seeds{device(), device(), device(), device()};
    return std::mt19937_64(seeds);
  }();
  return generator();
}

int64_t random_seed() { return static_cast<int64_t>(random_u64() >> 11); }

std::string random_id(std::string_view prefix) {
  return fmt::format("{}{:016x}{:08x}", prefix, random_u64(), random_u64() >> 32);
}

}  // namespace echelon
