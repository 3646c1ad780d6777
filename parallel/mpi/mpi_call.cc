// Requests, deadlines and the pace of polling.
#include "parallel/mpi/mpi_call.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>

#include "kernels/base/check.h"

namespace echelon::mpi {

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int size = 0;
  MPI_Error_string(code, text, &size);
  throw Error(Part::parallel, fmt::format("{}: {}", std::string(call).substr(0, std::string(call).find('(')), text));
}

void Pacer::pause() {
  constexpr int kYields = 2'000;  // about 1 ms
  constexpr int kSleepUs = 50;
  if (num_pauses_ < kYields) {
    ++num_pauses_;
    sched_yield();
  } else {
    usleep(kSleepUs);
  }
}

Pending::~Pending() {
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) buffers_[i].release();  // leaked on purpose, see the header
  }
}

size_t Pending::add(std::vector<char> bytes) {
  requests_.push_back(MPI_REQUEST_NULL);
  buffers_.push_back(std::make_unique<std::vector<char>>(std::move(bytes)));
  return requests_.size() - 1;
}

void Pending::send(std::vector<char> bytes, int to, int tag) {
  const size_t i = add(std::move(bytes));
  ECHELON_MPI(MPI_Isend(buffers_[i]->data(), static_cast<int>(buffers_[i]->size()), MPI_CHAR, to, tag, MPI_COMM_WORLD,
                        &requests_[i]));
}

size_t Pending::receive(size_t num_bytes, int from, int tag) {
  const size_t i = add(std::vector<char>(num_bytes));
  ECHELON_MPI(
      MPI_Irecv(buffers_[i]->data(), static_cast<int>(num_bytes), MPI_CHAR, from, tag, MPI_COMM_WORLD, &requests_[i]));
  return i;
}

size_t Pending::all_gather(std::vector<char> mine, int num_ranks) {
  // Mine lies at the end of the buffer that receives, so that both live as long as the request.
  const size_t num_each = mine.size();
  const size_t i = add(std::vector<char>(num_each * (num_ranks + size_t{1})));
  char* all = buffers_[i]->data();
  std::copy(mine.begin(), mine.end(), all + num_each * num_ranks);
  ECHELON_MPI(MPI_Iallgather(all + num_each * num_ranks, static_cast<int>(num_each), MPI_CHAR, all,
                             static_cast<int>(num_each), MPI_CHAR, MPI_COMM_WORLD, &requests_[i]));
  return i;
}

size_t Pending::broadcast(std::vector<char> bytes, int root) {
  const size_t i = add(std::move(bytes));
  ECHELON_MPI(MPI_Ibcast(buffers_[i]->data(), static_cast<int>(buffers_[i]->size()), MPI_CHAR, root, MPI_COMM_WORLD,
                         &requests_[i]));
  return i;
}

bool Pending::test() {
  bool all_done = true;
  for (MPI_Request& request : requests_) {
    if (request == MPI_REQUEST_NULL) continue;
    int done = 0;
    ECHELON_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
    all_done &= done != 0;
  }
  return all_done;
}

void Pending::wait(int timeout_ms, const std::function<std::string()>& describe) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  Pacer pacer;
  while (!test()) {
    if (std::chrono::steady_clock::now() > until) {
      throw Error(Part::parallel, fmt::format("{} (waited {} ms)", describe(), timeout_ms));
    }
    pacer.pause();
  }
}

}  // namespace echelon::mpi
