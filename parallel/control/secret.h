// The job's secret and what is proved with it: both ends of a control connection show that they know it without sending
// it (HMAC-SHA256 over both nonces). TLS takes a key derived from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace echelon {

using JobSecret = std::array<std::byte, 32>;
using Nonce = std::array<std::byte, 16>;
using Proof = std::array<std::byte, 32>;

/// Fills with bytes of the kernel's generator. Throws Error(Part::parallel).
void fill_random(std::span<std::byte> bytes);

/// HMAC-SHA256. Throws Error(Part::parallel) when libcrypto refuses.
Proof hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> text);
/// A key for one purpose, so that TLS and the proofs never share one.
JobSecret derive_key(const JobSecret& secret, std::string_view purpose);
/// In time that does not depend on where they differ.
bool equal_proofs(const Proof& a, const Proof& b);

// The handshake, as payloads of `hello`: the worker asks, rank 0 answers with its proof, the worker proves, rank 0
// accepts.
enum class HelloStep : uint8_t { ask = 1, answer, prove, accept };

struct HelloAsk {
  uint32_t rank = 0, size = 0;
  Nonce nonce{};
};
struct HelloAnswer {
  Nonce nonce{};
  Proof proof{};
};

std::vector<std::byte> encode(const HelloAsk& ask);
std::vector<std::byte> encode(const HelloAnswer& answer);
std::vector<std::byte> encode_prove(const Proof& proof);
std::vector<std::byte> encode_accept();
/// Nothing when step or length are others.
std::optional<HelloAsk> decode_ask(std::span<const std::byte> payload);
std::optional<HelloAnswer> decode_answer(std::span<const std::byte> payload);
std::optional<Proof> decode_prove(std::span<const std::byte> payload);
bool is_accept(std::span<const std::byte> payload);

/// What `speaker` ("front" or "worker") proves: the secret, over job, rank, size and both nonces.
Proof prove(const JobSecret& secret, std::string_view speaker, uint64_t job_id, const HelloAsk& ask,
            const Nonce& front_nonce);

}  // namespace echelon
