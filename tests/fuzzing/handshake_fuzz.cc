// The handshake of the control channel: payloads of `hello`.
#include "parallel/control/secret.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  const auto bytes = as_bytes(input);
  int num_readings = is_accept(bytes) ? 1 : 0;
  if (const auto ask = decode_ask(bytes)) {
    ++num_readings;
    expect(as_text(encode(*ask)) == input, "an ask that no encoder wrote was taken");
  }
  if (const auto answer = decode_answer(bytes)) {
    ++num_readings;
    expect(as_text(encode(*answer)) == input, "an answer that no encoder wrote was taken");
  }
  if (const auto proof = decode_prove(bytes)) {
    ++num_readings;
    expect(as_text(encode_prove(*proof)) == input, "a proof that no encoder wrote was taken");
    expect(equal_proofs(*proof, *proof), "a proof that differs from itself");
  }
  expect(num_readings <= 1, "a payload that is two steps");
}

std::vector<std::string> seeds() {
  return {as_text(encode(HelloAsk{.rank = 1, .size = 4})), as_text(encode(HelloAnswer{})),
          as_text(encode_prove(Proof{})), as_text(encode_accept())};
}

const Target target("handshake", run, seeds);

}  // namespace
}  // namespace echelon::fuzzing
