// A byte stream to one rank on another host, in pieces over MPI point to point. Sends are synchronous-mode
// (MPI_Issend), so that a sender is held back when its peer does not read; receives are posted ahead. Included only by
// sources of parallel/mpi.
#pragma once

#include <mpi.h>

#include <array>
#include <memory>
#include <vector>

#include "parallel/mpi/mpi_call.h"
#include "parallel/mpi/piece_sizes.h"
#include "parallel/stream_communicator.h"

namespace echelon::mpi {

class MpiLink : public Link {
 public:
  /// `tag` belongs to this pair and group alone. All calls from the thread that calls MPI.
  MpiLink(int world_rank, int tag);
  /// Waits a bounded time for what was sent to be taken, withdraws posted receives; buffers MPI may still use are never
  /// freed.
  ~MpiLink() override;
  size_t try_send(std::span<const std::byte> head, std::span<const std::byte> body) override;
  size_t try_receive(std::span<std::byte> out) override;
  bool progress() override;

 private:
  struct Piece {
    MPI_Request request = MPI_REQUEST_NULL;
    std::unique_ptr<std::vector<std::byte>> buffer = std::make_unique<std::vector<std::byte>>(kPieceBytes);
    size_t num_bytes = 0, num_read = 0;  // of a receive that is done
    bool is_done();
    void settle(bool is_receive);
  };
  void post_receive(Piece& piece);

  const int peer_, tag_;
  std::array<Piece, kNumSendPieces> sends_;
  std::array<Piece, kNumReceivePieces> receives_;
  int next_send_ = 0, next_receive_ = 0;
};

/// Polls: nothing wakes a rank that waits for MPI.
class MpiSleeper : public Sleeper {
 public:
  void begin() override { pacer_.reset(); }
  void sleep(int) override { pacer_.pause(); }

 private:
  Pacer pacer_;
};

}  // namespace echelon::mpi
