// Encoding and decoding of frames; every field is checked as soon as its bytes are there.
#include "parallel/control/frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/base/check.h"
#include "parallel/control/crc32c.h"

namespace echelon {
namespace {

constexpr uint32_t kFrameMagic = 0x4c544345;  // "ECTL"
constexpr uint8_t kFrameVersion = 1;
constexpr auto kLastKind = static_cast<uint8_t>(MessageKind::broken);

template <class Int>
void put(std::byte* at, Int value) {
  for (size_t i = 0; i < sizeof(Int); ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}

template <class Int>
Int get(const std::byte* at) {
  Int value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i) value |= static_cast<Int>(static_cast<Int>(at[i]) << (8 * i));
  return value;
}

uint32_t frame_crc(std::span<const std::byte> frame) {
  constexpr std::array<std::byte, 4> kZero{};
  return crc32c(frame.subspan(kFrameHeaderBytes), crc32c(kZero, crc32c(frame.first(kFrameHeaderBytes - 4))));
}

}  // namespace

std::vector<std::byte> encode_frame(const ControlMessage& message, uint64_t job_id) {
  ECHELON_CHECK(message.payload.size() <= kMaxPayloadBytes, "a control message of {} bytes", message.payload.size());
  std::vector<std::byte> frame(kFrameHeaderBytes + message.payload.size());
  put(&frame[0], kFrameMagic);
  put(&frame[4], kFrameVersion);
  put(&frame[5], static_cast<uint8_t>(message.kind));
  put(&frame[8], job_id);
  put(&frame[16], message.epoch);
  put(&frame[20], static_cast<uint32_t>(message.payload.size()));
  put(&frame[24], message.number);
  std::copy(message.payload.begin(), message.payload.end(), frame.begin() + kFrameHeaderBytes);
  put(&frame[32], frame_crc(frame));
  return frame;
}

bool FrameDecoder::fail(std::string error) {
  error_ = std::move(error);
  pending_ = {};
  num_consumed_ = 0;
  return false;
}

bool FrameDecoder::decode_one(std::vector<ControlMessage>& out, bool& more) {
  const std::span<const std::byte> bytes = std::span<const std::byte>(pending_).subspan(num_consumed_);
  more = false;
  // The magic is looked at as soon as it is there: who speaks another protocol is told at once.
  if (bytes.size() >= 4 && get<uint32_t>(&bytes[0]) != kFrameMagic)
    return fail("these bytes are not a control message (magic)");
  if (bytes.size() < kFrameHeaderBytes) return true;
  const auto version = get<uint8_t>(&bytes[4]), kind = get<uint8_t>(&bytes[5]);
  const auto num_payload = get<uint32_t>(&bytes[20]);
  if (version != kFrameVersion) return fail(fmt::format("control version {}, this is {}", version, kFrameVersion));
  if (kind < 1 || kind > kLastKind) return fail(fmt::format("unknown kind of message {}", kind));
  if (get<uint16_t>(&bytes[6]) != 0) return fail("reserved bytes are not zero");
  if (get<uint64_t>(&bytes[8]) != job_id_) return fail("a message of another job");
  if (num_payload > max_payload_bytes_)
    return fail(fmt::format("a payload of {} bytes; {} are allowed", num_payload, max_payload_bytes_));
  if (bytes.size() - kFrameHeaderBytes < num_payload) return true;
  const std::span<const std::byte> frame = bytes.first(kFrameHeaderBytes + num_payload);
  if (get<uint32_t>(&frame[32]) != frame_crc(frame)) return fail("checksum of a message is wrong");
  const std::span<const std::byte> payload = frame.subspan(kFrameHeaderBytes);
  out.push_back(ControlMessage{.kind = static_cast<MessageKind>(kind),
                               .epoch = get<uint32_t>(&frame[16]),
                               .number = get<uint64_t>(&frame[24]),
                               .payload = {payload.begin(), payload.end()}});
  num_consumed_ += frame.size();
  more = num_consumed_ < pending_.size();
  return true;
}

bool FrameDecoder::feed(std::span<const std::byte> bytes, std::vector<ControlMessage>& out) {
  if (!error_.empty()) return false;
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  bool more = true;
  while (more) {
    if (!decode_one(out, more)) return false;
  }
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(num_consumed_));
  num_consumed_ = 0;
  return true;
}

}  // namespace echelon
