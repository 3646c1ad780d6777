// Control messages as bytes. A frame is a header of 36 bytes, little-endian, and its payload:
//   0 magic u32 | 4 version u8 | 5 kind u8 | 6 zero u16 | 8 job u64 | 16 epoch u32 | 20 payload bytes u32 | 24 number
//   u64 | 32 crc u32
// crc is CRC-32C over the header (with crc = 0) and the payload.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "parallel/control_channel.h"

namespace echelon {

inline constexpr size_t kFrameHeaderBytes = 36;
inline constexpr uint32_t kMaxPayloadBytes = 16u << 20;  ///< four times the tokens of the longest sequence
inline constexpr uint32_t kMaxHandshakePayloadBytes = 128;

/// The payload may have at most kMaxPayloadBytes (checked).
std::vector<std::byte> encode_frame(const ControlMessage& message, uint64_t job_id);

/// Takes bytes in pieces of any size and gives messages. Trusts nothing: memory grows only with bytes that have really
/// come, at most max_payload_bytes plus one piece. After an error it stays failed. No I/O; one thread.
class FrameDecoder {
 public:
  FrameDecoder(uint64_t job_id, uint32_t max_payload_bytes) : job_id_(job_id), max_payload_bytes_(max_payload_bytes) {}

  /// Appends complete messages to `out`. False on the first thing that is wrong; error() says what.
  bool feed(std::span<const std::byte> bytes, std::vector<ControlMessage>& out);
  const std::string& error() const { return error_; }
  /// Raised when the other side has proved who it is; applies to messages after the last one given out.
  void set_max_payload_bytes(uint32_t limit) { max_payload_bytes_ = limit; }
  /// Bytes of an unfinished message: the other side stopped inside of one.
  size_t num_pending_bytes() const { return pending_.size() - num_consumed_; }

 private:
  bool decode_one(std::vector<ControlMessage>& out, bool& more);
  bool fail(std::string error);

  const uint64_t job_id_;
  uint32_t max_payload_bytes_;
  std::vector<std::byte> pending_;
  size_t num_consumed_ = 0;
  std::string error_;
};

}  // namespace echelon
