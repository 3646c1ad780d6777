// What a link between hosts (mpi_link.h) keeps ready, for those who only ask how much that is.
#pragma once

#include <cstddef>

namespace echelon::mpi {

inline constexpr size_t kPieceBytes = size_t{256} << 10;
inline constexpr int kNumSendPieces = 4;  ///< on their way to one peer: 1 MiB
inline constexpr int kNumReceivePieces = 2;

}  // namespace echelon::mpi
