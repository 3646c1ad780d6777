#include "launch/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace echelon {
namespace {

/// Every way to write an option.
std::vector<std::string> flags_of(const OptionRow& row) {
  std::vector<std::string> flags{"--" + row.name};
  if (row.shape == OptionShape::flag) flags.push_back("--no-" + row.name);
  if (!row.short_name.empty()) flags.push_back(row.short_name);
  for (const std::string& alias : row.aliases) flags.push_back("--" + alias);
  return flags;
}

bool takes_value(const OptionRow& row) { return row.shape != OptionShape::flag; }

/// In single quotes, for any of the three shells.
std::string in_quotes(std::string text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string first_words(const std::string& help) { return help.substr(0, help.find_first_of(";:")); }

std::string bash(std::span<const CompletedCommand> commands) {
  std::vector<std::string> names;
  std::string values, flags;
  for (const CompletedCommand& one : commands) {
    const std::string& name = one.command.name;
    names.push_back(name);
    std::vector<std::string> all{"--help"};
    for (const OptionRow& row : one.command.rows) {
      const std::vector<std::string> spellings = flags_of(row);
      if (!row.operand) all.insert(all.end(), spellings.begin(), spellings.end());
      if (row.operand || !takes_value(row)) continue;
      const std::string words =
          row.choices.empty() ? "compgen -f --" : fmt::format("compgen -W '{}' --", fmt::join(row.choices, " "));
      for (const std::string& flag : spellings)
        values += fmt::format("    {}:{}) COMPREPLY=($({} \"$word\")); return ;;\n", name, flag, words);
    }
    const std::string operand = one.words.empty() ? "compgen -f --" : fmt::format("compgen -W '{}' --", one.words);
    flags += fmt::format("    {}:-*) COMPREPLY=($(compgen -W '{}' -- \"$word\")) ;;\n", name, fmt::join(all, " "));
    flags += fmt::format("    {}:*) COMPREPLY=($({} \"$word\")) ;;\n", name, operand);
  }
  return fmt::format(
      "# bash: source <(echelon completion bash)\n"
      "_echelon() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then COMPREPLY=($(compgen -W '{}' -- \"$word\")); return; fi\n"
      "  case $command:$before in\n{}  esac\n"
      "  case $command:$word in\n{}  esac\n"
      "}}\n"
      "complete -o filenames -F _echelon echelon\n",
      fmt::join(names, " "), values, flags);
}

/// As _arguments has it: brackets and colons of a text are escaped.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh(std::span<const CompletedCommand> commands) {
  std::string names, cases;
  for (const CompletedCommand& one : commands) {
    const std::string& name = one.command.name;
    names += fmt::format("    {}\n", in_quotes(zsh_text(name) + ":" + one.help));
    cases += fmt::format("    {})\n      _arguments '--help[the options]'", name);
    for (const OptionRow& row : one.command.rows) {
      if (row.operand) continue;
      const std::string action = row.choices.empty() ? "_files" : fmt::format("({})", fmt::join(row.choices, " "));
      const std::string value = takes_value(row) ? fmt::format(":{}:{}", zsh_text(row.value_name), action) : "";
      for (const std::string& flag : flags_of(row))
        cases += " \\\n        " + in_quotes(fmt::format("*{}[{}]{}", flag, zsh_text(first_words(row.help)), value));
    }
    cases += fmt::format(" \\\n        {} ;;\n",
                         in_quotes(one.words.empty() ? "*:file:_files" : fmt::format("*:name:({})", one.words)));
  }
  return fmt::format(
      "#compdef echelon\n"
      "# zsh: echelon completion zsh > ~/.zfunc/_echelon, with ~/.zfunc in fpath; or source <(echelon completion zsh)\n"
      "_echelon() {{\n"
      "  local -a commands=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
      "  local command=$words[2]\n"
      "  shift words; (( CURRENT-- ))\n"
      "  case $command in\n{}  esac\n"
      "}}\n"
      "if [ \"$funcstack[1]\" = _echelon ]; then _echelon; else compdef _echelon echelon; fi\n",
      names, cases);
}

std::string fish(std::span<const CompletedCommand> commands) {
  std::string script = "# fish: echelon completion fish | source\ncomplete -c echelon -n __fish_use_subcommand -f\n";
  for (const CompletedCommand& one : commands) {
    const std::string& name = one.command.name;
    script += fmt::format("complete -c echelon -n __fish_use_subcommand -a {} -d {}\n", name, in_quotes(one.help));
    const std::string seen = fmt::format("complete -c echelon -n '__fish_seen_subcommand_from {}'", name);
    script += seen + " -l help -d 'the options'\n";
    if (!one.words.empty()) script += fmt::format("{} -f -a {}\n", seen, in_quotes(one.words));
    for (const OptionRow& row : one.command.rows) {
      if (row.operand) continue;
      std::string line = fmt::format("{} -l {}", seen, row.name);
      if (!row.short_name.empty()) line += fmt::format(" -o {}", row.short_name.substr(1));
      for (const std::string& alias : row.aliases) line += " -l " + alias;
      line += takes_value(row) ? " -r" : " -l no-" + row.name;
      if (!row.choices.empty())
        line += fmt::format(" -f -a {}", in_quotes(fmt::format("{}", fmt::join(row.choices, " "))));
      script += fmt::format("{} -d {}\n", line, in_quotes(first_words(row.help)));
    }
  }
  return script;
}

}  // namespace

std::string completion_script(std::string_view shell, std::span<const CompletedCommand> commands) {
  if (shell == "bash") return bash(commands);
  return shell == "zsh" ? zsh(commands) : fish(commands);
}

}  // namespace echelon
