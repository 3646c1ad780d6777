// MPI with errors as exceptions and waits with deadlines. Never a blocking call: MPI_Test in a loop that gives the core
// away. Included only by sources of parallel/mpi.
#pragma once

#include <mpi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace echelon::mpi {

/// Throws Error(Part::parallel) with MPI's own text unless `code` is MPI_SUCCESS.
void check(int code, const char* call);
#define ECHELON_MPI(call) ::echelon::mpi::check((call), #call)

/// Between two looks: yields for the first millisecond of a wait, then sleeps 50 us.
class Pacer {
 public:
  void pause();
  void reset() { num_pauses_ = 0; }

 private:
  int num_pauses_ = 0;
};

/// Requests with the buffers they use. When a wait is given up, requests that cannot be cancelled keep their buffers
/// for ever: MPI may still write into them.
class Pending {
 public:
  Pending() = default;
  ~Pending();
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  /// Sends a copy of `bytes` to a rank of MPI_COMM_WORLD.
  void send(std::vector<char> bytes, int to, int tag);
  /// The received bytes are buffer(index) when done; returns the index. The peer sends exactly num_bytes.
  size_t receive(size_t num_bytes, int from, int tag);
  size_t all_gather(std::vector<char> mine, int num_ranks);
  size_t broadcast(std::vector<char> bytes, int root);

  /// Tests everything; true when all is done.
  bool test();
  bool done(size_t index) const { return requests_[index] == MPI_REQUEST_NULL; }
  const std::vector<char>& buffer(size_t index) const { return *buffers_[index]; }
  /// Tests until all is done. Throws Error(Part::parallel) with describe() at the deadline.
  void wait(int timeout_ms, const std::function<std::string()>& describe);

 private:
  size_t add(std::vector<char> bytes);

  std::vector<MPI_Request> requests_;
  std::vector<std::unique_ptr<std::vector<char>>> buffers_;
};

}  // namespace echelon::mpi
