#include "launch/commands/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>

#include "kernels/base/error.h"
#include "launch/chat_options.h"
#include "launch/client/event_stream.h"
#include "launch/client/http_client.h"
#include "launch/endpoint_file.h"

namespace echelon {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kFault = 2;
constexpr std::chrono::milliseconds kLongestSilence{600'000};  // a long prompt on a busy server
constexpr std::string_view kDim = "\x1b[2m", kPlain = "\x1b[0m";

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

class Chat {
 public:
  explicit Chat(const ChatOptions& options)
      : server_(server_at(options.url)),
        api_key_(options.api_key),
        conversation_(options.settings),
        is_terminal_(isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0),
        has_colour_(is_terminal_ && std::getenv("NO_COLOR") == nullptr) {}

  int run() {
    while (const std::optional<std::string> line = read_message()) {
      if (*line == "/quit") break;
      if (line->empty() || command(*line)) continue;
      try {
        answer(*line);
      } catch (const Error& error) {
        conversation_.end();
        fmt::print(stderr, "{}echelon: {}\n", is_terminal_ ? "\n" : "", error.what());
        if (!is_terminal_) return kFault;
      }
    }
    if (is_terminal_) print("\n");
    return 0;
  }

 private:
  std::optional<std::string> read_message() {
    std::string message;
    for (bool goes_on = true; goes_on;) {
      if (is_terminal_) print(message.empty() ? "> " : "  ");
      std::string line;
      if (!std::getline(std::cin, line)) return std::nullopt;
      goes_on = line.ends_with('\\');
      if (goes_on) line.back() = '\n';
      message += line;
    }
    return message;
  }

  bool command(const std::string& line) {
    constexpr std::string_view kSystem = "/system ";
    if (line == "/clear") {
      conversation_.clear();
    } else if (line.starts_with(kSystem)) {
      conversation_.set_system(line.substr(kSystem.size()));
    } else {
      return false;
    }
    return true;
  }

  void answer(const std::string& message) {
    EventStream events;
    const auto begin = SteadyClock::now();
    std::optional<SteadyClock::time_point> first;
    bool is_dim = false;
    const auto on_bytes = [&](std::string_view bytes) {
      for (const std::string& data : events.feed(bytes)) {
        const ChatConversation::Shown shown = conversation_.take(data);
        if (shown.reasoning.empty() && shown.text.empty()) continue;
        if (!first) first = SteadyClock::now();
        if (is_terminal_ && !shown.reasoning.empty()) {
          if (has_colour_ && !std::exchange(is_dim, true)) print(kDim);
          print(shown.reasoning);
        }
        if (shown.text.empty()) continue;
        if (std::exchange(is_dim, false)) print(std::string(kPlain) + "\n\n");
        print(shown.text);
      }
    };
    const bool whole =
        http_post(server_, "/v1/chat/completions", api_key_, conversation_.ask(message), kLongestSilence, on_bytes);
    if (is_dim) print(kPlain);
    print("\n");
    conversation_.end();
    if (is_terminal_) report(whole, begin, first.value_or(begin));
  }

  void report(bool whole, SteadyClock::time_point begin, SteadyClock::time_point first) {
    const auto seconds = [](SteadyClock::duration time) { return std::chrono::duration<double>(time).count(); };
    std::string line = fmt::format("first token after {:.0f} ms", 1e3 * seconds(first - begin));
    const int64_t tokens = conversation_.completion_tokens();
    const double rest = seconds(SteadyClock::now() - first);
    if (tokens > 1 && rest > 0)
      line += fmt::format(", {} tokens, {:.0f} tokens/s", tokens, static_cast<double>(tokens - 1) / rest);
    if (!whole) line += ", cut off";
    if (conversation_.finish_reason() == "length") line += ", ended by a limit";
    print(has_colour_ ? fmt::format("{}{}{}\n", kDim, line, kPlain) : line + "\n");
  }

  const ServerAddress server_;
  const std::string api_key_;
  ChatConversation conversation_;
  const bool is_terminal_, has_colour_;
};

}  // namespace

int chat(const std::vector<std::string>& arguments) {
  try {
    const ChatInvocation invocation = parse_chat(arguments, process_environment());
    if (invocation.help || invocation.print_config) {
      fmt::print("{}", invocation.help ? chat_help() : print_config("chat", invocation));
      return 0;
    }
    for (const std::string& warning : invocation.warnings) fmt::print(stderr, "echelon: {}\n", warning);
    return Chat(invocation.options).run();
  } catch (const Error& error) {
    fmt::print(stderr, "echelon: {}\n", error.what());
    return kFault;
  }
}

}  // namespace echelon
