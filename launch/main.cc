// echelon: one binary, the same command on every rank. Help and version start no MPI.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

#include "launch/commands/serve.h"

namespace {

constexpr char kUsage[] =
    "usage: echelon serve MODEL [options]   serve a model; start it on every rank with launch/run, mpirun or srun\n"
    "       echelon serve --help            its options\n"
    "       echelon version\n";

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "serve") return echelon::serve({arguments.begin() + 1, arguments.end()});
  if (command == "version" || command == "--version") {
    fmt::print("echelon {}\n", ECHELON_VERSION);
    return 0;
  }
  if (command == "help" || command == "--help" || command == "-h") {
    fmt::print("{}", kUsage);
    return 0;
  }
  fmt::print(stderr, "{}{}", command.empty() ? "" : "echelon: unknown command '" + command + "'\n", kUsage);
  return 2;
}
