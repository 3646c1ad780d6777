#include "kernels/base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace echelon {
namespace {
std::atomic<int> rank_of_process{-1};
}  // namespace

void set_process_rank(int rank) { rank_of_process = rank; }
int process_rank() { return rank_of_process; }

void check_failed(const char* expression, const char* file, int line, std::string_view message) {
  const int rank = process_rank();
  const std::string who = rank < 0 ? std::string("no rank") : fmt::format("rank {}", rank);
  fmt::print(stderr, "echelon: {}: check failed: {} ({}:{}) {}\n", who, expression, file, line, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace echelon
