// The table behind options.h: one row per option, from which flags, variables, YAML keys, help and --print-config
// follow.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "launch/option_values.h"
#include "launch/options.h"

namespace echelon {

enum class OptionShape { scalar, flag, list };

struct OptionRow {
  std::string name;                  ///< "max-model-len": the flag without dashes, and the YAML key
  std::string short_name;            ///< "-tp" or empty
  std::vector<std::string> aliases;  ///< further flags without dashes; not YAML keys
  std::string value_name;            ///< for the help; empty for a flag
  std::string help;
  OptionShape shape = OptionShape::scalar;
  /// Checks and stores. `values` holds one text, or several for a list. Throws BadValue.
  std::function<void(ServeOptions&, std::span<const std::string> values)> set;
  std::function<std::string(const ServeOptions&)> get;  ///< as YAML
};

/// Built once; immutable.
const std::vector<OptionRow>& option_table();

/// "max-model-len" -> "ECHELON_MAX_MODEL_LEN".
std::string environment_name(const std::string& option_name);

}  // namespace echelon
