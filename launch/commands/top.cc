#include "launch/commands/top.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "kernels/base/error.h"
#include "launch/client/http_client.h"
#include "launch/endpoint_file.h"
#include "launch/top/snapshot.h"
#include "launch/top/view.h"
#include "launch/top_options.h"

namespace echelon {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kFault = 2;
constexpr std::chrono::milliseconds kAnswerTimeout{5'000};
constexpr int kUsualWidth = 80, kMostWidth = 1000;

struct Look {
  Snapshot snapshot;
  SteadyClock::time_point time;
};

Look look_at(const ServerAddress& server, const std::string& api_key) {
  Look look{.snapshot = parse_snapshot(http_get(server, "/metrics", api_key, kAnswerTimeout)),
            .time = SteadyClock::now()};
  look.snapshot.trace = parse_trace(http_get(server, "/debug/pipeline", api_key, kAnswerTimeout), look.snapshot);
  return look;
}

/// SIGINT and SIGTERM end the waits below instead of the process, so that the terminal can be put back.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  /// False when a signal came.
  bool wait(int seconds) const {
    const auto end = SteadyClock::now() + std::chrono::seconds(seconds);
    while (true) {
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(end - SteadyClock::now()).count();
      if (left <= 0) return true;
      const timespec time{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
      if (sigtimedwait(&set_, nullptr, &time) > 0) return false;
      if (errno == EAGAIN) return true;
    }
  }

 private:
  sigset_t set_;
};

/// The screen that a full-screen program gets, and back.
class Screen {
 public:
  Screen() : on_(isatty(STDOUT_FILENO) != 0) {
    if (on_) fmt::print("\x1b[?1049h\x1b[?25l");
  }
  ~Screen() {
    if (on_) fmt::print("\x1b[?25h\x1b[?1049l");
    std::fflush(stdout);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  int width() const { return size().ws_col; }

  /// In place of what was shown; below it where output is no terminal.
  void show(const std::vector<std::string>& lines) const {
    size_t count = lines.size();
    if (on_) count = std::min(count, static_cast<size_t>(std::max<int>(size().ws_row, 2) - 1));
    std::string text = on_ ? "\x1b[H" : "";
    for (size_t i = 0; i < count; ++i) text += lines[i] + (on_ ? "\x1b[K\n" : "\n");
    fmt::print("{}{}", text, on_ ? "\x1b[J" : "\n");
    std::fflush(stdout);
  }
  bool is_terminal() const { return on_; }

 private:
  winsize size() const {
    winsize size{};
    if (!on_ || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) size = {};
    if (size.ws_col == 0) size.ws_col = kUsualWidth;
    if (size.ws_row == 0) size.ws_row = 24;
    size.ws_col = std::min<unsigned short>(size.ws_col, kMostWidth);
    return size;
  }
  bool on_;
};

std::vector<std::string> lines_of(const Look& before, const Look& now, const ViewOptions& view) {
  const double seconds = std::chrono::duration<double>(now.time - before.time).count();
  return top_lines(before.snapshot, now.snapshot, seconds, view);
}

int print_once(const TopOptions& options, const ServerAddress& server) {
  const Signals signals;
  const Look before = look_at(server, options.api_key);
  if (!signals.wait(options.interval)) return 0;
  for (const std::string& line :
       lines_of(before, look_at(server, options.api_key), {.width = kUsualWidth, .colour = false}))
    fmt::print("{}\n", line);
  return 0;
}

int watch(const TopOptions& options, const ServerAddress& server) {
  const Signals signals;
  const Screen screen;
  const char* no_colour = std::getenv("NO_COLOR");
  const bool colour = screen.is_terminal() && (no_colour == nullptr || *no_colour == '\0');
  std::optional<Look> before;
  do {
    try {
      Look now = look_at(server, options.api_key);
      if (before) {
        screen.show(lines_of(*before, now, {.width = screen.width(), .colour = colour}));
      } else if (screen.is_terminal()) {
        screen.show({fmt::format("looking at {}", server.text)});
      }
      before = std::move(now);
    } catch (const Error& error) {
      before.reset();
      screen.show({error.what(), "Asking again; Ctrl-C ends this."});
    }
  } while (signals.wait(options.interval));
  return 0;
}

}  // namespace

int top(const std::vector<std::string>& arguments) {
  try {
    const TopInvocation invocation = parse_top(arguments, process_environment());
    if (invocation.help || invocation.print_config) {
      fmt::print("{}", invocation.help ? top_help() : print_config("top", invocation));
      return 0;
    }
    const ServerAddress server = server_at(invocation.options.url);
    return invocation.options.once ? print_once(invocation.options, server) : watch(invocation.options, server);
  } catch (const Error& error) {
    fmt::print(stderr, "echelon top: {}\n", error.what());
    return kFault;
  }
}

}  // namespace echelon
