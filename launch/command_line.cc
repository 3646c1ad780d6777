// From argv, environment and file to values: where each comes from, and which source wins. CLI11 splits the command
// line; every value then takes the same path through the command's rows.
#include "launch/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "launch/option_file.h"

extern char** environ;

namespace echelon {
namespace {

constexpr std::string_view kPrefix = "ECHELON_";
constexpr size_t kMaxArguments = 4096;

/// Variables of the scripts, the build and the tests, which no command reads.
constexpr std::string_view kOtherVariables[] = {"ECHELON_MODELS",       "ECHELON_BINARY", "ECHELON_LAUNCHER",
                                                "ECHELON_OUTCOME_FILE", "ECHELON_HOME",   "ECHELON_INSTALL"};

/// The texts of one option as one source gave them.
struct Given {
  std::vector<std::string> values;
  OptionSource source = OptionSource::preset;
  std::string where;
};
using GivenByName = std::map<std::string, Given>;

/// What the command line says, still as text.
struct CommandLine {
  GivenByName options;
  std::string config_file;
  bool help = false;
  bool print_config = false;
};

[[noreturn]] void fail(const std::string& message) { throw Error(Part::launch, message); }

bool is_negative(const std::string& alias) { return alias.starts_with("no-"); }

/// "-tp=2" and "--max_model_len=4" as CLI11 takes them: "--tensor-parallel-size=2", "--max-model-len=4".
std::string to_long_flag(const Command& command, const std::string& argument) {
  const size_t end = std::min(argument.find('='), argument.size());
  std::string flag = argument.substr(0, end);
  for (const OptionRow& row : command.rows) {
    if (!row.short_name.empty() && flag == row.short_name) flag = "--" + row.name;
  }
  if (flag.starts_with("--")) std::replace(flag.begin(), flag.end(), '_', '-');
  return flag + argument.substr(end);
}

std::vector<std::string> all_flags(const Command& command) {
  std::vector<std::string> flags{"--config", "--print-config", "--help"};
  for (const OptionRow& row : command.rows) {
    flags.push_back("--" + row.name);
    if (row.shape == OptionShape::flag) flags.push_back("--no-" + row.name);
    for (const std::string& alias : row.aliases) flags.push_back("--" + alias);
  }
  return flags;
}

/// CLI11's spelling of a row: "--port", or "--enable-x,!--no-enable-x"; the operand is the positional argument, too.
std::string flag_names(const OptionRow& row) {
  std::string names = (row.operand ? row.name + ",--" : "--") + row.name;
  if (row.shape == OptionShape::flag) names += ",!--no-" + row.name;
  for (const std::string& alias : row.aliases) names += (is_negative(alias) ? ",!--" : ",--") + alias;
  return names;
}

/// "MODEL", or "MODEL FILE".
std::string operands_of(const Command& command) {
  std::string names;
  for (const OptionRow& row : command.rows) {
    if (row.operand) names += (names.empty() ? "" : " ") + row.value_name;
  }
  ECHELON_CHECK(!names.empty());
  return names;
}

[[noreturn]] void fail_unknown(const Command& command, const std::string& argument) {
  if (!argument.starts_with("-"))
    fail(fmt::format("unexpected argument '{}': {} takes one {}", argument, command.name, operands_of(command)));
  const std::string flag = argument.substr(0, argument.find('='));
  const std::string near = nearest_name(flag, all_flags(command));
  fail(fmt::format("unknown option {}{}; echelon {} --help lists them", flag,
                   near.empty() ? "" : fmt::format(", did you mean {}?", near), command.name));
}

CommandLine split_command_line(const Command& command, const std::vector<std::string>& arguments) {
  if (arguments.size() > kMaxArguments) fail(fmt::format("more than {} arguments", kMaxArguments));
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  CommandLine line;
  app.add_flag("-h,--help", line.help);
  app.add_flag("--print-config", line.print_config);
  app.add_option("--config", line.config_file);
  std::map<std::string, std::vector<std::string>> texts;
  std::map<std::string, CLI::Option*> parsed;
  for (const OptionRow& row : command.rows) {
    std::vector<std::string>& target = texts[row.name];
    parsed[row.name] = row.shape == OptionShape::flag
                           ? app.add_flag(flag_names(row), target)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
                           : app.add_option(flag_names(row), target)->allow_extra_args(false);
  }
  std::vector<std::string> reversed;
  std::transform(arguments.rbegin(), arguments.rend(), std::back_inserter(reversed),
                 [&](const std::string& argument) { return to_long_flag(command, argument); });
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    fail(error.what());
  }
  if (!app.remaining().empty()) fail_unknown(command, app.remaining().front());
  for (const OptionRow& row : command.rows) {
    if (parsed[row.name]->count() == 0) continue;
    const std::string flag = row.operand ? row.value_name : "--" + row.name;
    line.options[row.name] = {.values = texts[row.name], .source = OptionSource::flag, .where = flag};
  }
  return line;
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

/// An empty variable counts as not set.
GivenByName read_environment(const Command& command, const Environment& environment) {
  GivenByName given;
  for (const OptionRow& row : command.rows) {
    const std::string variable = environment_name(row.name);
    const auto found = environment.find(variable);
    if (found == environment.end() || found->second.empty()) continue;
    given[row.name] = {.values = row.shape == OptionShape::list ? split_commas(found->second)
                                                                : std::vector<std::string>{found->second},
                       .source = OptionSource::environment,
                       .where = variable};
  }
  return given;
}

std::vector<std::string> unread_variables(const Command& command, const Environment& environment) {
  std::vector<std::string> known{std::string(kPrefix) + "CONFIG"};
  for (const OptionRow& row : command.rows) known.push_back(environment_name(row.name));
  std::vector<std::string> warnings;
  for (const auto& [variable, value] : environment) {
    if (!variable.starts_with(kPrefix) || std::find(known.begin(), known.end(), variable) != known.end()) continue;
    if (std::find(std::begin(kOtherVariables), std::end(kOtherVariables), variable) != std::end(kOtherVariables))
      continue;
    const std::string near = nearest_name(variable.substr(kPrefix.size()), [&] {
      std::vector<std::string> ends;
      for (const std::string& name : known) ends.push_back(name.substr(kPrefix.size()));
      return ends;
    }());
    warnings.push_back(fmt::format("environment variable {} is not read{}", variable,
                                   near.empty() ? "" : fmt::format("; did you mean {}{}?", kPrefix, near)));
  }
  return warnings;
}

GivenByName read_file(const Command& command, const std::string& path) {
  std::vector<std::string> names;
  for (const OptionRow& row : command.rows) names.push_back(row.name);
  GivenByName given;
  for (FileEntry& entry : read_option_file(path, names)) {
    given[entry.name] = {.values = std::move(entry.values), .source = OptionSource::file, .where = entry.where};
  }
  return given;
}

std::string config_path(const CommandLine& line, const Environment& environment) {
  if (!line.config_file.empty()) return line.config_file;
  const auto found = environment.find(std::string(kPrefix) + "CONFIG");
  return found == environment.end() ? "" : found->second;
}

std::string_view source_name(OptionSource source) {
  switch (source) {
    case OptionSource::preset:
      return "default";
    case OptionSource::file:
      return "file";
    case OptionSource::environment:
      return "environment";
    case OptionSource::flag:
      return "flag";
  }
  return "?";
}

}  // namespace

std::string environment_name(const std::string& option_name) {
  std::string out(kPrefix);
  for (const char c : option_name)
    out += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

Environment process_environment() {
  Environment out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos || !text.starts_with(kPrefix)) continue;
    out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

Invocation parse_command(const Command& command, const std::vector<std::string>& arguments,
                         const Environment& environment) {
  const CommandLine line = split_command_line(command, arguments);
  Invocation invocation;
  invocation.help = line.help;
  invocation.print_config = line.print_config;
  if (line.help) return invocation;
  const std::string path = config_path(line, environment);
  const GivenByName from_file = path.empty() ? GivenByName{} : read_file(command, path);
  const GivenByName from_environment = read_environment(command, environment);
  for (const OptionRow& row : command.rows) {
    const Given* winner = nullptr;
    for (const GivenByName* source : {&from_file, &from_environment, &line.options}) {
      const auto found = source->find(row.name);
      if (found == source->end()) continue;
      winner = &found->second;
      if (winner->source == OptionSource::file && row.shape != OptionShape::list && winner->values.size() != 1) {
        fail(fmt::format("{}: takes one value, not a list", winner->where));
      }
      try {
        row.set(winner->values);  // the losers, too: a bad value is an error wherever it stands
      } catch (const BadValue& bad) {
        fail(fmt::format("{}: {}", winner->where, bad.what()));
      }
    }
    invocation.origins.push_back({.name = row.name,
                                  .value = row.get(),
                                  .source = winner == nullptr ? OptionSource::preset : winner->source,
                                  .where = winner == nullptr ? "" : winner->where});
  }
  invocation.warnings = unread_variables(command, environment);
  for (size_t i = 0; i < command.rows.size() && !invocation.print_config; ++i) {  // an origin for each row
    const OptionRow& row = command.rows[i];
    if (row.operand && !row.may_be_missing && invocation.origins[i].source == OptionSource::preset &&
        row.get() == quoted(""))
      fail(fmt::format("{} is missing: echelon {} {}, {}", row.value_name, command.name, operands_of(command),
                       row.help));
  }
  return invocation;
}

std::string option_help(const OptionRow& row) {
  std::string left = "--" + row.name;
  if (row.operand) left = fmt::format("{0}, {1} {0}", row.value_name, left);
  if (!row.short_name.empty()) left = row.short_name + ", " + left;
  if (row.shape == OptionShape::flag) left = "--[no-]" + row.name;
  if (!row.value_name.empty() && !row.operand) left += " " + row.value_name;
  const std::string preset = row.get();
  const bool shown = preset != "\"\"" && preset != "[]";
  return help_line(left, row.help + (shown ? fmt::format(" [{}]", preset) : ""));
}

std::string help_line(const std::string& left, const std::string& help) {
  std::string out = fmt::format("  {:<{}}", left, kHelpColumn - 2);
  if (left.size() + 3 > kHelpColumn) out += fmt::format("\n{:<{}}", "", kHelpColumn);
  return out + help + "\n";
}

std::string print_config(const std::string& command, const Invocation& invocation) {
  std::string out = "# echelon " + command + ": what counts, and who said so. --config takes this file.\n";
  for (const OptionOrigin& origin : invocation.origins) {
    const bool masked = origin.name == "api-key";
    const bool commented = origin.source == OptionSource::preset || masked;
    const std::string left = fmt::format("{}{}: {}", commented ? "# " : "", origin.name, origin.value);
    out += fmt::format("{:<{}} # {}{}{}\n", left, kHelpColumn, source_name(origin.source),
                       origin.where.empty() ? "" : " ", origin.where);
  }
  return out;
}

}  // namespace echelon
