// One target as a program of libFuzzer's. With FUZZ_SEEDS=FOLDER it writes seeds and dictionary there, and ends.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "tests/fuzzing/target.h"

namespace {

using echelon::fuzzing::Target;

const Target& target() {
  static const Target& only = *echelon::fuzzing::targets().front();
  return only;
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) echelon::fuzzing::finding("cannot write " + path);
}

/// As libFuzzer wants it: a quoted word a line.
std::string dictionary() {
  std::string text;
  for (const std::string_view word : target().words) {
    text += '"';
    for (const char c : word) {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(c));
      text += code;
    }
    text += "\"\n";
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* folder = std::getenv("FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  int number = 0;
  for (const std::string& seed : target().seeds())
    write_file(std::string(folder) + "/seed-" + std::to_string(number++), seed);
  write_file(std::string(folder) + ".words", dictionary());
  std::_Exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  target().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
