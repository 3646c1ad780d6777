// Pieces in flight. MPI keeps messages of one pair and tag in order, so pieces are used round robin on both sides.
#include "parallel/mpi/mpi_link.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace echelon::mpi {
namespace {

constexpr int kLeaveMs = 500;

}  // namespace

bool MpiLink::Piece::is_done() {
  if (request == MPI_REQUEST_NULL) return true;
  int done = 0;
  MPI_Status status;
  ECHELON_MPI(MPI_Test(&request, &done, &status));
  if (done == 0) return false;
  int num = 0;
  if (MPI_Get_count(&status, MPI_BYTE, &num) == MPI_SUCCESS && num != MPI_UNDEFINED)
    num_bytes = static_cast<size_t>(num);
  return true;
}

void MpiLink::Piece::settle(bool is_receive) {
  if (request == MPI_REQUEST_NULL) return;
  int done = 0;
  if (is_receive) MPI_Cancel(&request);
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kLeaveMs);
  Pacer pacer;
  while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done == 0) {
    if (std::chrono::steady_clock::now() > until) break;
    pacer.pause();
  }
  if (done == 0) buffer.release();  // leaked on purpose: MPI may still use it
}

MpiLink::MpiLink(int world_rank, int tag) : peer_(world_rank), tag_(tag) {
  for (Piece& piece : receives_) post_receive(piece);
}

MpiLink::~MpiLink() {
  for (Piece& piece : sends_) piece.settle(false);
  for (Piece& piece : receives_) piece.settle(true);
}

void MpiLink::post_receive(Piece& piece) {
  piece.num_bytes = piece.num_read = 0;
  ECHELON_MPI(MPI_Irecv(piece.buffer->data(), static_cast<int>(kPieceBytes), MPI_BYTE, peer_, tag_, MPI_COMM_WORLD,
                        &piece.request));
}

size_t MpiLink::try_send(std::span<const std::byte> head, std::span<const std::byte> body) {
  const size_t from_head = std::min(head.size(), kPieceBytes),
               from_body = std::min(body.size(), kPieceBytes - from_head);
  if (from_head + from_body == 0) return 0;
  Piece& piece = sends_[next_send_];
  if (!piece.is_done()) return 0;
  if (from_head > 0) std::memcpy(piece.buffer->data(), head.data(), from_head);
  if (from_body > 0) std::memcpy(piece.buffer->data() + from_head, body.data(), from_body);
  ECHELON_MPI(MPI_Issend(piece.buffer->data(), static_cast<int>(from_head + from_body), MPI_BYTE, peer_, tag_,
                         MPI_COMM_WORLD, &piece.request));
  next_send_ = (next_send_ + 1) % kNumSendPieces;
  return from_head + from_body;
}

bool MpiLink::progress() {
  bool more = false;
  for (Piece& piece : sends_) more |= !piece.is_done();
  return more;
}

size_t MpiLink::try_receive(std::span<std::byte> out) {
  Piece& piece = receives_[next_receive_];
  if (!piece.is_done()) return 0;
  const size_t num = std::min(out.size(), piece.num_bytes - piece.num_read);
  if (num > 0) std::memcpy(out.data(), piece.buffer->data() + piece.num_read, num);
  piece.num_read += num;
  if (piece.num_read == piece.num_bytes) {
    post_receive(piece);
    next_receive_ = (next_receive_ + 1) % kNumReceivePieces;
  }
  return num;
}

}  // namespace echelon::mpi
