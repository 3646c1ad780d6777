// Its own rows before serve's; the model is the operand, as everywhere.
#include "launch/perplexity_options.h"

#include "kernels/base/error.h"
#include "launch/option_table.h"

namespace echelon {
namespace {

std::vector<OptionRow> own_rows(PerplexityOptions& options) {
  return {text({.name = "text", .value_name = "FILE", .help = "what the model is to foresee"}, options.text),
          integer({.name = "window",
                   .value_name = "N",
                   .help = "tokens that are looked at together; the second half of them counts"},
                  options.window, {4, 1 << 20}, true),
          text({.name = "json", .value_name = "FILE", .help = "the figures for programs"}, options.json)};
}

}  // namespace

Command perplexity_command(PerplexityOptions& options) {
  Command command{.name = "perplexity", .rows = own_rows(options)};
  for (OptionRow& row : serve_rows(options.serve)) command.rows.push_back(std::move(row));
  return command;
}

PerplexityInvocation parse_perplexity(const std::vector<std::string>& arguments, const Environment& environment) {
  PerplexityInvocation invocation;
  PerplexityOptions& options = invocation.options;
  std::vector<std::string> flags = arguments;
  const bool has_file = flags.size() > 1 && !flags[0].starts_with('-') && !flags[1].starts_with('-');
  if (has_file) flags.insert(flags.begin() + 1, "--text");  // MODEL FILE
  static_cast<Invocation&>(invocation) = parse_command(perplexity_command(options), flags, environment);
  if (invocation.help || invocation.print_config) return invocation;
  if (options.text.empty()) throw Error(Part::launch, "--text is missing: echelon perplexity MODEL FILE");
  return invocation;
}

std::string perplexity_help() {
  std::string out =
      "usage: echelon perplexity MODEL FILE [options]\n\n"
      "Says how well MODEL foresees a text, from the ranks that mpirun or srun started: perplexity as "
      "llama-perplexity\n"
      "has it, and bits per byte, which compares models of different tokens. Takes every option of serve, too "
      "(echelon\n"
      "serve --help); it listens nowhere.\n\n";
  PerplexityOptions presets;
  for (const OptionRow& row : own_rows(presets)) out += option_help(row);
  return out;
}

}  // namespace echelon
