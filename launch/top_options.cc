#include "launch/top_options.h"

namespace echelon {
namespace {

constexpr Range kIntervals{1, 3600};

std::vector<OptionRow> top_rows(TopOptions& options) {
  std::vector<OptionRow> rows{
      text({.name = "url",
            .value_name = "URL",
            .help = "the address of a server, such as http://127.0.0.1:8000, or its --endpoint-file"},
           options.url),
      integer({.name = "interval", .value_name = "S", .help = "seconds between two looks"}, options.interval,
              kIntervals),
      boolean({.name = "once", .value_name = "", .help = "print one interval as plain text and exit"}, options.once),
      client_key_row(options.api_key),
  };
  rows.front().operand = true;
  return rows;
}

}  // namespace

Command top_command(TopOptions& options) { return {.name = "top", .rows = top_rows(options)}; }

TopInvocation parse_top(const std::vector<std::string>& arguments, const Environment& environment) {
  TopInvocation invocation;
  Environment own = environment;
  own.erase("ECHELON_CONFIG");
  static_cast<Invocation&>(invocation) = parse_command(top_command(invocation.options), arguments, own);
  return invocation;
}

std::string top_help() {
  std::string out =
      "usage: echelon top URL [options]\n\n"
      "Watches a running server: tokens per second, the cache, where the time of every rank goes, how near it works "
      "to\n"
      "what its processors reach (MFU, MBU), and which stage had which micro-batch. Ctrl-C ends it. Colours only on a\n"
      "terminal, and not where NO_COLOR is set.\n\n";
  TopOptions presets;
  for (const OptionRow& row : top_rows(presets)) out += option_help(row);
  return out;
}

}  // namespace echelon
