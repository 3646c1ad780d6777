// Files of safetensors: header and every tensor.
#include "engine/weights/safetensors.h"
#include "engine/weights/weight_file.h"
#include "kernels/base/error.h"
#include "tests/engine/weights/file_builder.h"
#include "tests/engine/weights/read_tensors.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

/// The file as it is; and its text as the header of a file whose size is right, with data of 64 bytes.
void run(std::string_view input) {
  static const MemoryFolder folder;
  for (const bool is_header : {false, true}) {
    folder.write("model.safetensors",
                 is_header ? testing::build_safetensors(input, std::string(64, 'x')) : std::string(input));
    try {
      read_tensors(*open_hugging_face(folder.path()));
    } catch (const Error&) {
    }
  }
}

std::vector<std::string> seeds() {
  const std::string header =
      R"({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}, )"
      R"("b": {"dtype": "BF16", "shape": [2, 6], "data_offsets": [32, 56]}, "c": {"dtype": "F16", "shape": [4], )"
      R"("data_offsets": [56, 64]}})";
  return {header, testing::build_safetensors(header, std::string(64, 'y')),
          R"({"d": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}, "e": {"dtype": "U8", "shape": [56], )"
          R"("data_offsets": [8, 64]}})"};
}

const Target target("safetensors", run, seeds,
                    {"\"dtype\"", "\"shape\"", "\"data_offsets\"", "__metadata__", "\"F32\"", "\"BF16\"", "\"F16\"",
                     "18446744073709551615", "9223372036854775807", "4611686018427387904", "1e308", "[]", "{}"});

}  // namespace
}  // namespace echelon::fuzzing
