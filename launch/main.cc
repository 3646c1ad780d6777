// echelon: one binary, the same command on every rank. Help and version start no MPI.
#include <fmt/format.h>

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/base/error.h"
#include "kernels/cuda/devices.h"
#include "launch/commands/batch.h"
#include "launch/commands/bench.h"
#include "launch/commands/chat.h"
#include "launch/commands/completion.h"
#include "launch/commands/doctor.h"
#include "launch/commands/perplexity.h"
#include "launch/commands/plan.h"
#include "launch/commands/serve.h"
#include "launch/commands/simulate.h"
#include "launch/commands/top.h"
#include "parallel/nccl/nccl_library.h"

namespace {

constexpr char kUsage[] =
    "usage: echelon serve MODEL [options]   serve a model; start it on every rank with launch/run, mpirun or srun\n"
    "       echelon serve --help            its options\n"
    "       echelon batch FILE -o OUTPUT --model MODEL [options]  answer a file of requests; started likewise\n"
    "       echelon doctor [MODEL]          what hosts, ranks and networks lack for a server; started likewise\n"
    "       echelon plan MODEL [options]    which layouts hold a model, what a rank needs, how fast it is at best\n"
    "       echelon simulate MODEL [options]  what clients of a job that does not exist yet would see\n"
    "       echelon top URL [options]       watch a running server: its ranks, stages and micro-batches\n"
    "       echelon bench URL [options]     measure a running server\n"
    "       echelon perplexity MODEL FILE   how well a model foresees a text\n"
    "       echelon chat URL [options]      a conversation with a running server\n"
    "       echelon completion SHELL        complete commands and options in bash, zsh or fish\n"
    "       echelon version\n";

/// What the binary was built with and what this machine has. Throws Error for a device that cannot be described.
void print_version() {
  fmt::print("echelon {}\n", ECHELON_VERSION);
  fmt::print("cpu   {}\n", echelon::to_string(echelon::best_cpu_isa()));
  fmt::print("cuda  {}; {}\n", echelon::cuda_build(), echelon::cuda_driver());
  for (const echelon::CudaDevice& device : echelon::cuda_devices()) {
    fmt::print("      {}: {}, sm_{}{}, {} MiB\n", device.index, device.name, device.sm_major, device.sm_minor,
               device.memory_bytes >> 20);
  }
  const std::optional<echelon::NcclVersion> header = echelon::nccl_build();
  const echelon::NcclLibrary library = echelon::nccl_library();
  fmt::print("nccl  {}; {}\n", header ? "compiled for " + to_string(*header) : "not compiled in",
             library.version ? "library " + to_string(*library.version) : library.why_none);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "serve") return echelon::serve({arguments.begin() + 1, arguments.end()});
  if (command == "batch") return echelon::batch({arguments.begin() + 1, arguments.end()});
  if (command == "doctor") return echelon::doctor({arguments.begin() + 1, arguments.end()});
  if (command == "top") return echelon::top({arguments.begin() + 1, arguments.end()});
  if (command == "bench") return echelon::bench({arguments.begin() + 1, arguments.end()});
  if (command == "perplexity") return echelon::perplexity({arguments.begin() + 1, arguments.end()});
  if (command == "chat") return echelon::chat({arguments.begin() + 1, arguments.end()});
  if (command == "completion") return echelon::completion({arguments.begin() + 1, arguments.end()});
  if (command == "plan") return echelon::plan({arguments.begin() + 1, arguments.end()});
  if (command == "simulate") return echelon::simulate({arguments.begin() + 1, arguments.end()});
  if (command == "version" || command == "--version") {
    try {
      print_version();
      return 0;
    } catch (const echelon::Error& error) {
      fmt::print(stderr, "echelon version: {}\n", error.what());
      return 1;
    }
  }
  if (command == "help" || command == "--help" || command == "-h") {
    fmt::print("{}", kUsage);
    return 0;
  }
  fmt::print(stderr, "{}{}", command.empty() ? "" : "echelon: unknown command '" + command + "'\n", kUsage);
  return 2;
}
