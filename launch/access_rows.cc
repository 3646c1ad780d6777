// Keys, and what they may do. What is kept from others never stands in a row's value: --print-config masks it.
#include "launch/access_rows.h"

#include <fmt/ranges.h>

namespace echelon {
namespace {

constexpr int kMaxApiKeys = 1024;

OptionRow api_key_row(ServeOptions& options) {
  OptionRow row = base_row({.name = "api-key",
                            .value_name = "KEY",
                            .help = "a key that clients must send; repeatable; in a variable, separated by commas. "
                                    "Other users of the host can read flags: prefer ECHELON_API_KEY or a file"},
                           OptionShape::list);
  row.set = [&options](std::span<const std::string> values) {
    if (values.size() > kMaxApiKeys) throw BadValue(fmt::format("more than {} keys", kMaxApiKeys));
    for (const std::string& value : values) {
      check_text(value);
      if (value.find(' ') != std::string::npos) throw BadValue("holds a space");
    }
    options.api_keys.assign(values.begin(), values.end());
  };
  row.get = [&options] {
    return fmt::format("[{}]", fmt::join(std::vector<std::string>(options.api_keys.size(), "\"***\""), ", "));
  };
  return row;
}

}  // namespace

std::vector<OptionRow> access_rows(ServeOptions& options) {
  return {
      api_key_row(options),
      text({.name = "api-key-file",
            .value_name = "FILE",
            .help =
                "keys, one a line: NAME:KEY or NAME:sha256:HEX; for its owner alone (mode 0600); SIGHUP: read again"},
           options.api_key_file),
      boolean(
          {.name = "require-api-key",
           .value_name = "",
           .help = "make a key when other hosts can reach the server and none is given; --no-api-key: serve anybody",
           .aliases = {"no-api-key"}},
          options.require_api_key),
  };
}

}  // namespace echelon
