// Its own rows behind serve's, so that the model is the first operand.
#include "launch/perplexity_options.h"

#include "launch/option_table.h"

namespace echelon {
namespace {

std::vector<OptionRow> own_rows(PerplexityOptions& options) {
  std::vector<OptionRow> rows{
      text({.name = "text", .value_name = "FILE", .help = "what the model is to foresee"}, options.text),
      integer({.name = "window",
               .value_name = "N",
               .help = "tokens that are looked at together; the second half of them counts"},
              options.window, {4, 1 << 20}, true),
      text({.name = "json", .value_name = "FILE", .help = "the figures for programs"}, options.json)};
  rows.front().operand = true;
  return rows;
}

}  // namespace

Command perplexity_command(PerplexityOptions& options) {
  Command command{.name = "perplexity", .rows = serve_rows(options.serve)};
  for (OptionRow& row : own_rows(options)) command.rows.push_back(std::move(row));
  return command;
}

PerplexityInvocation parse_perplexity(const std::vector<std::string>& arguments, const Environment& environment) {
  PerplexityInvocation invocation;
  static_cast<Invocation&>(invocation) = parse_command(perplexity_command(invocation.options), arguments, environment);
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
