// `serve`: its rows, parsed; its help; and what counts in the end.
#include "launch/options.h"

#include "kernels/base/error.h"
#include "launch/option_table.h"

namespace echelon {
ServeInvocation parse_serve(const std::vector<std::string>& arguments, const Environment& environment) {
  ServeInvocation invocation;
  static_cast<Invocation&>(invocation) =
      parse_command({.name = "serve", .rows = serve_rows(invocation.options)}, arguments, environment);
  const ServeOptions& options = invocation.options;
  if (options.tls_cert.empty() != options.tls_key.empty() && !invocation.print_config)
    throw Error(Part::launch, options.tls_key.empty() ? "--tls-cert needs --tls-key" : "--tls-key needs --tls-cert");
  if (options.request_log_text && options.request_log.empty() && !invocation.print_config)
    throw Error(Part::launch, "--request-log-text needs --request-log");
  if (!options.require_api_key && !(options.api_keys.empty() && options.api_key_file.empty()))
    throw Error(Part::launch, "--no-api-key excludes --api-key and --api-key-file: nobody would be asked for one");
  return invocation;
}

std::string serve_help() {
  std::string out =
      "usage: echelon serve MODEL [options]\n\n"
      "Serves MODEL from the ranks that mpirun or srun started, with an OpenAI-compatible HTTP server on rank 0.\n"
      "Every option can also be given as a variable (--max-model-len: ECHELON_MAX_MODEL_LEN) or as a key of the YAML "
      "file\n"
      "of --config (max-model-len: 32K). Flags win over variables, variables over the file.\n\n";
  ServeOptions presets;
  for (const OptionRow& row : serve_rows(presets)) out += option_help(row);
  out += help_line("--config FILE", "a YAML file of options");
  out += help_line("--print-config", "print every value and where it came from, then exit");
  out += help_line("-h, --help", "print this and exit");
  return out;
}

}  // namespace echelon
