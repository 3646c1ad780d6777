// Scripts that complete the command line in a shell, out of the rows that parse it. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "launch/command_line.h"

namespace echelon {

struct CompletedCommand {
  Command command;
  std::string help;        ///< one line
  std::string words = {};  ///< what its operand may be, with blanks between; empty: a file
};

inline constexpr std::string_view kShells[] = {"bash", "zsh", "fish"};

/// For `source`. `shell`: one of kShells.
std::string completion_script(std::string_view shell, std::span<const CompletedCommand> commands);

}  // namespace echelon
