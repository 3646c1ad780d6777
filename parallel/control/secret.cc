// HMAC-SHA256 challenge and response (RFC 2104; the pattern of ISO 9798-4 mutual authentication), and the bytes of the
// handshake.
#include "parallel/control/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "kernels/base/error.h"

namespace echelon {
namespace {

void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  std::ranges::copy(bytes, std::back_inserter(out));
}

void append_number(std::vector<std::byte>& out, uint64_t value, int num_bytes) {
  for (int i = 0; i < num_bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

uint32_t read_u32(const std::byte* at) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= static_cast<uint32_t>(at[i]) << (8 * i);
  return value;
}

bool has_shape(std::span<const std::byte> payload, HelloStep step, size_t num_bytes) {
  return payload.size() == num_bytes && payload[0] == static_cast<std::byte>(step);
}

}  // namespace

void fill_random(std::span<std::byte> bytes) {
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error(Part::parallel, "getrandom failed; the job's secret needs the kernel's random numbers");
  }
}

Proof hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> text) {
  Proof proof;
  unsigned int num_bytes = 0;
  const auto* result =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
           text.size(), reinterpret_cast<unsigned char*>(proof.data()), &num_bytes);
  if (result == nullptr || num_bytes != proof.size()) throw Error(Part::parallel, "libcrypto gives no HMAC-SHA256");
  return proof;
}

JobSecret derive_key(const JobSecret& secret, std::string_view purpose) {
  return hmac_sha256(secret, std::as_bytes(std::span(purpose)));
}

bool equal_proofs(const Proof& a, const Proof& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

std::vector<std::byte> encode(const HelloAsk& ask) {
  std::vector<std::byte> out{static_cast<std::byte>(HelloStep::ask)};
  append_number(out, ask.rank, 4);
  append_number(out, ask.size, 4);
  append(out, ask.nonce);
  return out;
}

std::vector<std::byte> encode(const HelloAnswer& answer) {
  std::vector<std::byte> out{static_cast<std::byte>(HelloStep::answer)};
  append(out, answer.nonce);
  append(out, answer.proof);
  return out;
}

std::vector<std::byte> encode_prove(const Proof& proof) {
  std::vector<std::byte> out{static_cast<std::byte>(HelloStep::prove)};
  append(out, proof);
  return out;
}

std::vector<std::byte> encode_accept() { return {static_cast<std::byte>(HelloStep::accept)}; }

std::optional<HelloAsk> decode_ask(std::span<const std::byte> payload) {
  if (!has_shape(payload, HelloStep::ask, 9 + sizeof(Nonce))) return std::nullopt;
  HelloAsk ask{.rank = read_u32(&payload[1]), .size = read_u32(&payload[5])};
  std::memcpy(ask.nonce.data(), &payload[9], ask.nonce.size());
  return ask;
}

std::optional<HelloAnswer> decode_answer(std::span<const std::byte> payload) {
  if (!has_shape(payload, HelloStep::answer, 1 + sizeof(Nonce) + sizeof(Proof))) return std::nullopt;
  HelloAnswer answer;
  std::memcpy(answer.nonce.data(), &payload[1], answer.nonce.size());
  std::memcpy(answer.proof.data(), &payload[1 + sizeof(Nonce)], answer.proof.size());
  return answer;
}

std::optional<Proof> decode_prove(std::span<const std::byte> payload) {
  if (!has_shape(payload, HelloStep::prove, 1 + sizeof(Proof))) return std::nullopt;
  Proof proof;
  std::memcpy(proof.data(), &payload[1], proof.size());
  return proof;
}

bool is_accept(std::span<const std::byte> payload) { return has_shape(payload, HelloStep::accept, 1); }

Proof prove(const JobSecret& secret, std::string_view speaker, uint64_t job_id, const HelloAsk& ask,
            const Nonce& front_nonce) {
  std::vector<std::byte> text;
  append(text, std::as_bytes(std::span(speaker)));
  text.push_back(std::byte{0});
  append_number(text, job_id, 8);
  append_number(text, ask.rank, 4);
  append_number(text, ask.size, 4);
  append(text, ask.nonce);
  append(text, front_nonce);
  return hmac_sha256(derive_key(secret, "control proofs"), text);
}

}  // namespace echelon
