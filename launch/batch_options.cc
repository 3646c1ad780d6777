// Its own rows before serve's. MODEL is no operand here: the file is.
#include "launch/batch_options.h"

#include "kernels/base/error.h"
#include "launch/option_table.h"

namespace echelon {
namespace {

std::vector<OptionRow> own_rows(BatchOptions& options) {
  std::vector<OptionRow> rows;
  rows.push_back(text({.name = "input",
                       .value_name = "FILE",
                       .help = "requests, one a line: {\"custom_id\", \"method\": \"POST\", \"url\", \"body\"}"},
                      options.input));
  rows.back().operand = true;
  rows.push_back(text({.name = "output",
                       .value_name = "FILE",
                       .help = "answers are appended, one a line, as they come; what it has is not asked again",
                       .short_name = "-o"},
                      options.output));
  return rows;
}

}  // namespace

Command batch_command(BatchOptions& options) {
  Command command{.name = "batch", .rows = own_rows(options)};
  for (OptionRow& row : serve_rows(options.serve)) {
    row.operand = false;
    command.rows.push_back(std::move(row));
  }
  return command;
}

BatchInvocation parse_batch(const std::vector<std::string>& arguments, const Environment& environment) {
  BatchInvocation invocation;
  static_cast<Invocation&>(invocation) = parse_command(batch_command(invocation.options), arguments, environment);
  if (invocation.help || invocation.print_config) return invocation;
  if (invocation.options.output.empty()) throw Error(Part::launch, "--output is missing: echelon batch FILE -o OUTPUT");
  if (invocation.options.serve.model.empty())
    throw Error(Part::launch, "--model is missing: echelon batch FILE --model MODEL");
  return invocation;
}

std::string batch_help() {
  std::string out =
      "usage: echelon batch FILE -o OUTPUT --model MODEL [options]\n\n"
      "Answers the requests of FILE, which are lines as OpenAI's batches have them, from the ranks that mpirun or "
      "srun\n"
      "started. Killed at any moment and started again with the same files, it goes on where it was. Takes every "
      "option\n"
      "of serve, too (echelon serve --help); it listens nowhere.\n\n";
  BatchOptions presets;
  for (const OptionRow& row : own_rows(presets)) out += option_help(row);
  out += help_line("--model MODEL", "GGUF file, Hugging Face folder, or a name in a Hugging Face cache folder");
  return out;
}

}  // namespace echelon
