#include "launch/commands/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "launch/batch_options.h"
#include "launch/bench_options.h"
#include "launch/chat_options.h"
#include "launch/completion.h"
#include "launch/doctor_options.h"
#include "launch/option_table.h"
#include "launch/perplexity_options.h"
#include "launch/plan_options.h"
#include "launch/top_options.h"

namespace echelon {

int completion(const std::vector<std::string>& arguments) {
  constexpr int kUsage = 2;
  const bool is_shell =
      arguments.size() == 1 && std::find(std::begin(kShells), std::end(kShells), arguments[0]) != std::end(kShells);
  if (!is_shell) {
    const bool asks_for_help = arguments.size() == 1 && (arguments[0] == "--help" || arguments[0] == "-h");
    fmt::print(asks_for_help ? stdout : stderr,
               "usage: echelon completion bash|zsh|fish\n\n"
               "Prints a script that completes commands and options. For bash, in ~/.bashrc:\n"
               "  source <(echelon completion bash)\n");
    return asks_for_help ? 0 : kUsage;
  }
  ServeOptions serve;
  BatchOptions batch;
  PerplexityOptions perplexity;
  DoctorOptions doctor;
  PlanOptions plan;
  SimulateOptions simulate;
  BenchOptions bench;
  ChatOptions chat;
  TopOptions top;
  const std::vector<CompletedCommand> commands{
      {.command = {.name = "serve", .rows = serve_rows(serve)}, .help = "serve a model"},
      {.command = batch_command(batch), .help = "answer a file of requests"},
      {.command = perplexity_command(perplexity), .help = "how well a model foresees a text"},
      {.command = doctor_command(doctor), .help = "what hosts and ranks lack for a server"},
      {.command = plan_command(plan), .help = "which layouts hold a model"},
      {.command = simulate_command(simulate), .help = "what clients of a job would see"},
      {.command = bench_command(bench), .help = "measure a running server", .words = "http://127.0.0.1:8000"},
      {.command = chat_command(chat), .help = "talk to a running server", .words = "http://127.0.0.1:8000"},
      {.command = top_command(top), .help = "watch a running server", .words = "http://127.0.0.1:8000"},
      {.command = {.name = "completion", .rows = {}}, .help = "complete commands in a shell", .words = "bash zsh fish"},
      {.command = {.name = "version", .rows = {}}, .help = "what was built in"},
  };
  fmt::print("{}", completion_script(arguments[0], commands));
  return 0;
}

}  // namespace echelon
