#include "launch/chat_options.h"

#include <fmt/format.h>

#include <limits>

namespace echelon {
namespace {

constexpr Range kTokens{0, 1 << 30};
constexpr Range kSeeds{0, std::numeric_limits<int64_t>::max()};
constexpr double kMaxTemperature = 2;

OptionRow temperature_row(std::optional<double>& target) {
  OptionRow row = base_row(
      {.name = "temperature", .value_name = "T", .help = "0: the likeliest token (0 to 2); default: the server's"},
      OptionShape::scalar);
  row.set = [&target](std::span<const std::string> values) { target = parse_decimal(values.back(), kMaxTemperature); };
  row.get = [&target] { return target ? fmt::format("{}", *target) : "\"\""; };
  return row;
}

OptionRow seed_row(std::optional<int64_t>& target) {
  OptionRow row = base_row(
      {.name = "seed", .value_name = "N", .help = "the same seed gives the same answers; default: drawn for each"},
      OptionShape::scalar);
  row.set = [&target](std::span<const std::string> values) { target = parse_integer(values.back(), kSeeds, false); };
  row.get = [&target] { return target ? fmt::format("{}", *target) : "\"\""; };
  return row;
}

}  // namespace

Command chat_command(ChatOptions& options) {
  Command command{.name = "chat", .rows = {}};
  command.rows.push_back(text(
      {.name = "url", .value_name = "URL", .help = "the address of a server, or its --endpoint-file"}, options.url));
  command.rows.back().operand = true;
  command.rows.push_back(
      text({.name = "system", .value_name = "TEXT", .help = "the system prompt"}, options.settings.system));
  command.rows.push_back(
      text({.name = "model", .value_name = "NAME", .help = "default: the one that is served"}, options.settings.model));
  command.rows.push_back(
      integer({.name = "max-tokens", .value_name = "N", .help = "of an answer; 0: to the end of the context"},
              options.settings.max_tokens, kTokens));
  command.rows.push_back(temperature_row(options.settings.temperature));
  command.rows.push_back(seed_row(options.settings.seed));
  command.rows.push_back(client_key_row(options.api_key));
  return command;
}

ChatInvocation parse_chat(const std::vector<std::string>& arguments, const Environment& environment) {
  ChatInvocation invocation;
  Environment own = environment;
  for (const char* name : {"ECHELON_CONFIG", "ECHELON_MODEL", "ECHELON_SEED"}) own.erase(name);  // serve's
  static_cast<Invocation&>(invocation) = parse_command(chat_command(invocation.options), arguments, own);
  return invocation;
}

std::string chat_help() {
  std::string out =
      "usage: echelon chat URL [options]\n\n"
      "A conversation with a running server in a terminal. A line is a message; one that ends with \\ goes on in the\n"
      "next. Ctrl-C ends an answer, Ctrl-D the conversation. /clear begins a new one, /system TEXT too, with another\n"
      "system prompt. From a pipe it answers line by line and prints the answers alone.\n\n";
  ChatOptions presets;
  for (const OptionRow& row : chat_command(presets).rows) out += option_help(row);
  return out;
}

}  // namespace echelon
