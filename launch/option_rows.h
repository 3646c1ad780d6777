// One option of a command as a row of a table, and makers of rows for members of common types. A row is bound to the
// struct that it fills, so that one parser (command_line.h) serves every command.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/option_values.h"

namespace echelon {

enum class OptionShape { scalar, flag, list };

struct OptionRow {
  std::string name;                  ///< "max-model-len": the flag without dashes, and the YAML key
  std::string short_name;            ///< "-tp" or empty
  std::vector<std::string> aliases;  ///< further flags without dashes; not YAML keys
  std::string value_name;            ///< for the help; empty for a flag
  std::string help;
  std::vector<std::string> choices = {};  ///< the values it takes, when they are few
  OptionShape shape = OptionShape::scalar;
  bool operand = false;  ///< what the command is about: an argument without a flag, too, in the order of the rows; it
                         ///< may not be missing, unless it has a preset or
  bool may_be_missing = false;
  /// Checks and stores. `values` holds one text, or several for a list. Throws BadValue.
  std::function<void(std::span<const std::string> values)> set;
  std::function<std::string()> get;  ///< as YAML
};

/// Name, short name, aliases, name of the value and help of a row.
struct Words {
  std::string name;
  std::string value_name;
  std::string help;
  std::string short_name = {};
  std::vector<std::string> aliases = {};
};

/// Double-quoted YAML; control characters never get this far.
std::string quoted(const std::string& text);
/// Throws BadValue for a text that is empty, longer than 4096 characters or holds a control character.
void check_text(const std::string& text);

// Makers. `target` outlives the row.
OptionRow base_row(Words words, OptionShape shape);  ///< without set and get
OptionRow text(Words words, std::string& target);
OptionRow choice(Words words, std::string& target, std::span<const std::string_view> names);
OptionRow boolean(Words words, bool& target);
OptionRow bytes(Words words, int64_t& target, Range range);
/// --api-key of a client. The server's own variable may hold several: any of them opens it.
OptionRow client_key_row(std::string& target);

template <class Int>
OptionRow integer(Words words, Int& target, Range range, bool suffixes = false) {
  OptionRow row = base_row(std::move(words), OptionShape::scalar);
  row.help += fmt::format(" ({} to {})", range.first, range.last);
  row.set = [=, &target](std::span<const std::string> values) {
    target = static_cast<Int>(parse_integer(values.back(), range, suffixes));
  };
  row.get = [&target] { return fmt::format("{}", target); };
  return row;
}

}  // namespace echelon
