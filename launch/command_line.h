// The parser of every command that takes options: flags, ECHELON_* variables and a YAML file, through the command's
// rows (option_rows.h). Starts no MPI and touches nothing but the --config file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launch/option_rows.h"

namespace echelon {

enum class OptionSource { preset, file, environment, flag };

/// One option's value and who gave it. `where` is the flag, the variable, or "FILE:LINE"; empty for a preset.
struct OptionOrigin {
  std::string name;
  std::string value;  ///< as YAML; api keys are masked
  OptionSource source = OptionSource::preset;
  std::string where;
};

/// What a command line asked for, beside the values that the rows have stored.
struct Invocation {
  std::vector<OptionOrigin> origins;  ///< one per option, in the order of the rows
  std::vector<std::string> warnings;  ///< ECHELON_* variables that nothing reads; for rank 0 to print
  bool help = false;
  bool print_config = false;
};

/// Its rows are bound to a struct of presets; one of them is its operand.
struct Command {
  std::string name;  ///< "serve"
  std::vector<OptionRow> rows;
};

using Environment = std::map<std::string, std::string>;

/// The ECHELON_* variables of this process. Not thread-safe against setenv.
Environment process_environment();

/// "max-model-len" -> "ECHELON_MAX_MODEL_LEN".
std::string environment_name(const std::string& option_name);

/// `arguments`: what follows the command's name. Flags win over environment over file over presets. Throws
/// Error(Part::launch) that names the flag, variable or FILE:LINE and what would be right. The operand may be missing
/// only when help or print_config is set. With help the rows are not touched.
Invocation parse_command(const Command& command, const std::vector<std::string>& arguments,
                         const Environment& environment);

/// A YAML file that --config takes, each line with where its value came from.
std::string print_config(const std::string& command, const Invocation& invocation);

inline constexpr size_t kHelpColumn = 38;
std::string help_line(const std::string& left, const std::string& help);
/// With what the row's struct holds as its default.
std::string option_help(const OptionRow& row);

}  // namespace echelon
