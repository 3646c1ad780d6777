// Files of API keys, and the keys that requests bring.
#include "frontend/access/api_keys.h"
#include "kernels/base/error.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run(std::string_view input) {
  try {
    for (const ApiKey& key : parse_key_file(input, "keys")) {
      expect(!key.id.empty() && key.id.size() <= 64, "a key without a name");
      expect(key.requests_per_min.value_or(0) >= 0 && key.tokens_per_min.value_or(0) >= 0, "a limit below zero");
    }
  } catch (const Error&) {
  }
  Pieces pieces(input);
  const std::string_view authorization = pieces.until("\n");
  presented_key(authorization, pieces.rest());
}

std::vector<std::string> seeds() {
  return {"# keys\nalice:sk-12345678901234567890 admin\nbob:sha256:" + std::string(64, 'a') +
              " requests=60 tokens=100000\n",
          "Bearer abc\nx", "a.b-c_d@e:0123456789abcdef\r\n"};
}

const Target target("key_file", run, seeds,
                    {":sha256:", " admin", " requests=", " tokens=", "#", "Bearer ", "9223372036854775807", "-1",
                     "\n"});

}  // namespace
}  // namespace echelon::fuzzing
