// Ports, and files and folders that a server leaves for others to read.
#include "launch/place_rows.h"

namespace echelon {
namespace {

constexpr Range kPorts{0, 65535}, kPortsOfRange{1, 65535};

}  // namespace

OptionRow port_row(ServeOptions& options) {
  OptionRow row =
      base_row({.name = "port",
                .value_name = "N|N-N",
                .help = "port to listen on (0 to 65535); 0: any free one; 8000-8010: the first of these that is free"},
               OptionShape::scalar);
  row.set = [&options](std::span<const std::string> values) {
    const std::string& value = values.back();
    const size_t dash = value.find('-', 1);
    if (dash == std::string::npos) {
      options.port = static_cast<int>(parse_integer(value, kPorts, false));
      options.last_port = 0;
      return;
    }
    const auto first = static_cast<int>(parse_integer(value.substr(0, dash), kPortsOfRange, false));
    const auto last = static_cast<int>(parse_integer(value.substr(dash + 1), kPortsOfRange, false));
    if (first > last) throw BadValue(fmt::format("'{}' ends before it begins", value));
    options.port = first;
    options.last_port = last;
  };
  row.get = [&options] {
    return options.last_port == 0 ? fmt::format("{}", options.port)
                                  : fmt::format("{}-{}", options.port, options.last_port);
  };
  return row;
}

std::vector<OptionRow> place_rows(ServeOptions& options) {
  OptionRow targets = text({.name = "prometheus-targets",
                            .value_name = "FILE",
                            .help = "likewise for Prometheus (file_sd_configs), which wants a name that ends in .json"},
                           options.prometheus_targets);
  targets.set = [set = targets.set](std::span<const std::string> values) {
    if (!values.back().ends_with(".json"))
      throw BadValue(fmt::format("'{}' does not end in .json: Prometheus would not read it", values.back()));
    set(values);
  };
  return {
      text({.name = "endpoint-file",
            .value_name = "FILE",
            .help = "where the server is, as JSON, while it is ready: chat, top and bench take it for a URL"},
           options.endpoint_file),
      targets,
      text({.name = "log-dir",
            .value_name = "DIR",
            .help = "each rank logs to a file of its own in this folder; rank 0 on the terminal, too"},
           options.log_dir),
  };
}

}  // namespace echelon
