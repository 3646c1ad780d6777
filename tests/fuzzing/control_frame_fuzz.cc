// Frames of the control channel, raw and behind a right checksum, in pieces of any size.
#include <algorithm>

#include "parallel/control/frame.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

constexpr uint64_t kJob = 0x0123456789abcdef;
constexpr uint32_t kMaxPayload = 256;

struct Outcome {
  std::vector<ControlMessage> messages;
  std::string error;
};

/// What a decoder makes of bytes that come in pieces of `size`.
Outcome decode(std::span<const std::byte> bytes, size_t size) {
  Outcome outcome;
  FrameDecoder decoder(kJob, kMaxPayload);
  bool good = true;
  for (size_t at = 0; at < bytes.size() && good; at += size) {
    good = decoder.feed(bytes.subspan(at, std::min(size, bytes.size() - at)), outcome.messages);
    expect(good == decoder.error().empty(), "an error without words");
    expect(decoder.num_pending_bytes() < kFrameHeaderBytes + kMaxPayload, "more is kept than one message");
  }
  outcome.error = decoder.error();
  return outcome;
}

void expect_same(const Outcome& a, const Outcome& b) {
  expect(a.error == b.error && a.messages.size() == b.messages.size(), "what is read depends on how bytes are cut");
  for (size_t i = 0; i < a.messages.size(); ++i) {
    expect(a.messages[i].kind == b.messages[i].kind && a.messages[i].payload == b.messages[i].payload,
           "what is read depends on how bytes are cut");
    expect(a.messages[i].payload.size() <= kMaxPayload, "a payload that is too large was taken");
  }
}

/// Any bytes; and the same as the content of a frame, of which one byte is changed.
void run(std::string_view input) {
  Pieces pieces(input);
  const size_t size = 1 + pieces.byte();
  const auto raw = as_bytes(pieces.rest());
  expect_same(decode(raw, raw.size() + 1), decode(raw, size));

  const auto kind = static_cast<MessageKind>(1 + pieces.byte() % 18);
  const size_t flipped = pieces.byte();
  const auto flip = static_cast<std::byte>(pieces.byte());
  const auto payload = as_bytes(pieces.take(kMaxPayload + 8));
  std::vector<std::byte> frames =
      encode_frame({.kind = kind, .epoch = 1, .number = 2, .payload = {payload.begin(), payload.end()}}, kJob);
  const std::vector<std::byte> next = encode_frame({.kind = MessageKind::heartbeat, .payload = {}}, kJob);
  if (flipped < frames.size()) frames[flipped] ^= flip;
  frames.insert(frames.end(), next.begin(), next.end());
  expect_same(decode(frames, frames.size()), decode(frames, size));
}

std::vector<std::string> seeds() {
  std::string raw(1, '\x05');
  raw += as_text(encode_frame({.kind = MessageKind::plan, .number = 3, .payload = {std::byte{7}}}, kJob));
  std::string large("\x40\x05\x18\x01");
  large.resize(100, 'x');
  return {raw, bytes_of_literal("\x01\x05\xff\x00payload"), large};
}

const Target target("control_frame", run, seeds, {"ECTL"});

}  // namespace
}  // namespace echelon::fuzzing
