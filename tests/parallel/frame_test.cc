// The decoder gives back what was encoded, whatever the pieces, and answers every damage with an error and bounded
// memory.
#include "parallel/control/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "parallel/control/crc32c.h"
#include "parallel/control/secret.h"

namespace echelon {
namespace {

constexpr uint64_t kJob = 0xfeedfacecafebeef;

std::span<const std::byte> as_span(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte byte : bytes) {
    out += "0123456789abcdef"[int(byte) >> 4];
    out += "0123456789abcdef"[int(byte) & 15];
  }
  return out;
}

TEST(Crc32c, KnownAnswers) {  // RFC 3720, B.4
  EXPECT_EQ(crc32c(as_span("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32)), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::vector<std::byte>(32, std::byte{0xff})), 0x62a8ab43u);
  EXPECT_EQ(crc32c(as_span("56789"), crc32c(as_span("1234"))), 0xe3069283u);
}

TEST(Hmac, KnownAnswer) {  // RFC 4231, test case 2
  EXPECT_EQ(hex(hmac_sha256(as_span("Jefe"), as_span("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Hmac, ProofsDependOnEverythingTheyCover) {
  JobSecret secret{}, other{};
  other[31] = std::byte{1};
  const HelloAsk ask{.rank = 1, .size = 4};
  HelloAsk other_nonce = ask;
  other_nonce.nonce[0] = std::byte{1};
  const Nonce front{}, other_front{std::byte{9}};
  const Proof proof = prove(secret, "worker", 5, ask, front);
  EXPECT_TRUE(equal_proofs(proof, prove(secret, "worker", 5, ask, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(other, "worker", 5, ask, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(secret, "front", 5, ask, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(secret, "worker", 6, ask, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(secret, "worker", 5, {.rank = 2, .size = 4}, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(secret, "worker", 5, {.rank = 1, .size = 5}, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(secret, "worker", 5, other_nonce, front)));
  EXPECT_FALSE(equal_proofs(proof, prove(secret, "worker", 5, ask, other_front)));
}

ControlMessage random_message(std::mt19937& random) {
  ControlMessage message{
      .kind = MessageKind(1 + random() % 9), .epoch = uint32_t(random()), .number = random() * 0x100000001ull};
  message.payload.resize(random() % 4 == 0 ? random() % 3000 : random() % 40);
  for (std::byte& byte : message.payload) byte = std::byte(random());
  return message;
}

bool same(const ControlMessage& a, const ControlMessage& b) {
  return a.kind == b.kind && a.epoch == b.epoch && a.number == b.number && a.payload == b.payload;
}

/// Feeds in random pieces; false when the decoder fails.
bool feed_in_pieces(FrameDecoder& decoder, std::span<const std::byte> bytes, std::mt19937& random,
                    std::vector<ControlMessage>& out) {
  while (!bytes.empty()) {
    const size_t num = std::min<size_t>(bytes.size(), 1 + random() % 200);
    if (!decoder.feed(bytes.first(num), out)) return false;
    bytes = bytes.subspan(num);
  }
  return true;
}

TEST(Frame, WhatIsEncodedComesBackInAnyPieces) {
  std::mt19937 random(1);
  for (int round = 0; round < 100; ++round) {
    std::vector<ControlMessage> sent, received;
    std::vector<std::byte> stream;
    for (int i = 0; i < 10; ++i) {
      sent.push_back(random_message(random));
      const auto frame = encode_frame(sent.back(), kJob);
      stream.insert(stream.end(), frame.begin(), frame.end());
    }
    FrameDecoder decoder(kJob, kMaxPayloadBytes);
    ASSERT_TRUE(feed_in_pieces(decoder, stream, random, received)) << decoder.error();
    EXPECT_EQ(decoder.num_pending_bytes(), 0u);
    ASSERT_EQ(received.size(), sent.size());
    for (size_t i = 0; i < sent.size(); ++i) EXPECT_TRUE(same(sent[i], received[i]));
  }
}

TEST(Frame, EveryFlippedBitIsFound) {
  std::mt19937 random(2);
  ControlMessage message = random_message(random);
  message.payload.resize(50);
  const auto frame = encode_frame(message, kJob);
  for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
    auto damaged = frame;
    damaged[bit / 8] ^= std::byte(1 << bit % 8);
    FrameDecoder decoder(kJob, kMaxPayloadBytes);
    std::vector<ControlMessage> out;
    const bool fine = decoder.feed(damaged, out);
    EXPECT_TRUE(out.empty()) << "bit " << bit;
    // A longer length only makes the decoder wait for the rest.
    EXPECT_TRUE(!fine || (bit / 8 >= 20 && bit / 8 < 24)) << "bit " << bit;
  }
}

TEST(Frame, ErrorsNameTheField) {
  const auto error_after = [](size_t offset, uint8_t value) {
    auto frame = encode_frame({.kind = MessageKind::plan}, kJob);
    frame[offset] = std::byte{value};
    FrameDecoder decoder(kJob, 1000);
    std::vector<ControlMessage> out;
    EXPECT_FALSE(decoder.feed(frame, out));
    EXPECT_FALSE(decoder.feed(encode_frame({.kind = MessageKind::plan}, kJob), out)) << "it stays failed";
    return decoder.error();
  };
  EXPECT_THAT(error_after(0, 1), testing::HasSubstr("magic"));
  EXPECT_THAT(error_after(4, 9), testing::HasSubstr("version 9"));
  EXPECT_THAT(error_after(5, 0), testing::HasSubstr("kind of message 0"));
  EXPECT_THAT(error_after(5, 200), testing::HasSubstr("kind of message 200"));
  EXPECT_THAT(error_after(6, 1), testing::HasSubstr("reserved"));
  EXPECT_THAT(error_after(9, 1), testing::HasSubstr("another job"));
  EXPECT_THAT(error_after(22, 1), testing::HasSubstr("65536 bytes; 1000 are allowed"));
  EXPECT_THAT(error_after(16, 1), testing::HasSubstr("checksum"));
}

TEST(Frame, SeededMutationsNeverCrashNorGiveAMessageThatWasNotSent) {
  std::mt19937 random(3);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<ControlMessage> sent, received;
    std::vector<std::byte> stream;
    for (int i = 0; i < 3; ++i) {
      sent.push_back(random_message(random));
      const auto frame = encode_frame(sent.back(), kJob);
      stream.insert(stream.end(), frame.begin(), frame.end());
    }
    for (uint32_t i = 0, num = 1 + random() % 4; i < num && !stream.empty(); ++i) {
      const size_t at = random() % stream.size();
      switch (random() % 4) {
        case 0:
          stream[at] = std::byte(random());
          break;
        case 1:
          stream.erase(stream.begin() + at, stream.begin() + std::min(stream.size(), at + 1 + random() % 50));
          break;
        case 2:
          stream.insert(stream.begin() + at, 1 + random() % 50, std::byte(random()));
          break;
        default:
          stream.resize(at);
      }
    }
    FrameDecoder decoder(kJob, 4000);
    feed_in_pieces(decoder, stream, random, received);
    EXPECT_LE(decoder.num_pending_bytes(), 4000 + kFrameHeaderBytes + 200);
    ASSERT_LE(received.size(), sent.size());
    size_t next = 0;  // what comes out is a subsequence of what went in
    for (const ControlMessage& message : received) {
      while (next < sent.size() && !same(sent[next], message)) ++next;
      ASSERT_LT(next, sent.size());
      ++next;
    }
  }
}

TEST(Frame, RandomBytesGiveNothing) {
  std::mt19937 random(4);
  for (int round = 0; round < 5'000; ++round) {
    std::vector<std::byte> bytes(random() % 300);
    for (std::byte& byte : bytes) byte = std::byte(random());
    std::vector<ControlMessage> out;
    FrameDecoder decoder(kJob, 1000);
    EXPECT_FALSE(decoder.feed(bytes, out) && bytes.size() >= 4);
    EXPECT_TRUE(out.empty());
    decode_ask(bytes);
    decode_answer(bytes);
    decode_prove(bytes);
    if (!bytes.empty()) is_accept(bytes);
  }
}

TEST(Hello, EncodesAndRefusesOtherLengths) {
  const HelloAsk ask{.rank = 77, .size = 1000, .nonce = {std::byte{1}, std::byte{2}}};
  auto bytes = encode(ask);
  const auto back = decode_ask(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->rank, 77u);
  EXPECT_EQ(back->size, 1000u);
  EXPECT_EQ(back->nonce, ask.nonce);
  EXPECT_FALSE(decode_answer(bytes));
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(decode_ask(bytes));
  EXPECT_FALSE(decode_ask({}));
  EXPECT_FALSE(is_accept({}));
}

}  // namespace
}  // namespace echelon
