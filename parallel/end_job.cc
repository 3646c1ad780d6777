// Ends the job with one message. Uses write(2) and _exit: other threads may hold any lock.
#include "parallel/end_job.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "kernels/base/check.h"
#include "kernels/base/error.h"
#include "kernels/base/log.h"

namespace echelon {
namespace {

constexpr unsigned kAbortSeconds = 2;
constexpr int kWriteUs = 50'000;  // for the channel's thread, which may be the caller's, to write what it was given
std::atomic<void (*)(int)> job_abort{nullptr};
std::atomic<bool> ending{false};

/// SIGALRM's default action ends the process even when every thread hangs.
void kill_this_process_later() {
  signal(SIGALRM, SIG_DFL);
  sigset_t only_alarm;
  sigemptyset(&only_alarm);
  sigaddset(&only_alarm, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &only_alarm, nullptr);
  alarm(kAbortSeconds);
}

[[noreturn]] void end_all_ranks() {
  kill_this_process_later();
  if (void (*const abort)(int) = job_abort) abort(kJobFailedExitCode);
  _exit(kJobFailedExitCode);
}

void say(std::string_view does, const std::string& cause) {
  char host[256] = "unknown host";
  gethostname(host, sizeof(host) - 1);
  const std::string line =
      fmt::format("echelon: rank {} on {} {} the job: {}\n", std::max(process_rank(), 0), host, does, cause);
  log::print(line);
}

[[noreturn]] void say_and_end(const std::string& cause) {
  say("ends", cause);
  end_all_ranks();
}

void tell_neighbours(ControlChannel& control, int num_ranks, const std::string& cause) {
  const auto* text = reinterpret_cast<const std::byte*>(cause.data());
  const bool is_front = process_rank() == 0;
  for (int rank = is_front ? 1 : 0; rank < (is_front ? num_ranks : 1); ++rank) {
    control.send(rank, {.kind = MessageKind::failure, .epoch = 0, .number = 0, .payload = {text, text + cause.size()}});
  }
}

}  // namespace

void set_job_abort(void (*abort)(int exit_code)) { job_abort = abort; }

void end_job(const std::string& cause) {
  if (ending.exchange(true)) {
    for (;;) pause();  // the first caller ends this process
  }
  say_and_end(cause);
}

void end_job_everywhere(ControlChannel& control, int num_ranks, const std::string& cause) {
  if (ending.exchange(true)) return;
  tell_neighbours(control, num_ranks, cause);
  std::thread([cause] {
    usleep(kWriteUs);
    say_and_end(cause);
  }).detach();
}

void leave_ended_job(ControlChannel& control, int num_ranks, const std::string& cause) {
  if (ending.exchange(true)) return;
  if (process_rank() == 0) tell_neighbours(control, num_ranks, cause);
  std::thread([] {
    constexpr int kLauncherIsFasterUs = 1'500'000;
    usleep(kLauncherIsFasterUs);
    end_all_ranks();
  }).detach();
}

void leave_job(const std::string& cause) {
  if (!ending.exchange(true)) say("leaves", cause);
  _exit(kJobFailedExitCode);
}

void end_job_after_rank_0(const std::string& cause) {
  constexpr int kOthersMs = 300;
  if (process_rank() == 1) end_job(cause);
  usleep(1'000 * kOthersMs);
  if (!ending.exchange(true)) end_all_ranks();
  for (;;) pause();
}

void die_with_parent() {
  const pid_t parent = getppid();
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
    throw Error(Part::parallel, fmt::format("prctl(PR_SET_PDEATHSIG): {}", std::strerror(errno)));
  }
  // The parent may have died before prctl: its child has been given to another by then.
  // (A parent with id 1 is a container's own launcher, not an orphan's.)
  if (getppid() != parent) _exit(kJobFailedExitCode);
}

}  // namespace echelon
