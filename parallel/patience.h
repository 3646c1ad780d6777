// One loop for every wait of the data plane: try, spin for a bounded time, then sleep; end at the deadline or when
// abandoned. Used by one thread; abandon() may come from any other.
#pragma once

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "parallel/communicator.h"

namespace echelon {

/// How a rank waits for its peers. The deadline counts silence: it starts again whenever a byte has moved.
struct WaitTimes {
  int timeout_ms = 60'000;  ///< a prompt chunk on a slow stage may take seconds
  int spin_us = -1;  ///< busy waiting before sleeping; -1: 50 when every rank of the host has a core, otherwise 0
};

/// spin_us with the default filled in, for `num_ranks` of this host; cores are those this process may run on.
int resolved_spin_us(const WaitTimes& times, int num_ranks);

/// Sleeping until a peer may have done something. arm() comes before the last look at the data, so that no wake-up is
/// lost.
class Sleeper {
 public:
  virtual ~Sleeper() = default;
  virtual void begin() {}  ///< a wait begins, or something has moved
  virtual void arm() {}
  virtual void sleep(int at_most_ms) = 0;
  virtual void disarm() {}
  virtual void wake() {}  ///< from any thread: ends a sleep() now
};

/// What one try has achieved.
enum class Step { done, moved, nothing };

class Patience {
 public:
  Patience(WaitTimes times, Sleeper& sleeper) : times_(times), sleeper_(sleeper) {}

  /// Calls `attempt` until it returns Step::done. `describe` names operation and peer, and is called only for an error.
  /// Throws CommunicatorError at the deadline, and at once when abandoned.
  template <class Attempt, class Describe>
  void wait(Attempt&& attempt, Describe&& describe) {
    if (abandoned_.load(std::memory_order_acquire)) give_up(describe());
    if (attempt() == Step::done) return;
    const auto started = Clock::now();
    auto last_move = started;
    sleeper_.begin();
    for (;;) {
      const Step spun = spin(attempt, last_move);
      if (spun == Step::done) return;
      if (spun == Step::moved) {
        last_move = Clock::now();
        sleeper_.begin();
        continue;
      }
      if (abandoned_.load(std::memory_order_acquire)) give_up(describe());
      sleeper_.arm();
      const Step step = attempt_disarming(attempt);
      if (step == Step::nothing && !abandoned_.load(std::memory_order_seq_cst)) {
        sleeper_.sleep(static_cast<int>(std::clamp<int64_t>(times_.timeout_ms - ms_since(last_move), 1, kSliceMs)));
      }
      sleeper_.disarm();
      if (step == Step::done) return;
      if (step == Step::moved) {
        last_move = Clock::now();
        sleeper_.begin();
      }
      if (step == Step::nothing && ms_since(last_move) >= times_.timeout_ms) {
        // A last look: the peer may have been served while this thread was not.
        if (attempt() == Step::done) return;
        throw CommunicatorError(Part::parallel, fmt::format("{}: nothing came for {} ms (waited {} ms)", describe(),
                                                            times_.timeout_ms, ms_since(started)));
      }
    }
  }

  void abandon(const std::string& reason) {
    {
      const std::lock_guard lock(mutex_);
      if (reason_.empty()) reason_ = reason.empty() ? "no reason given" : reason;
    }
    abandoned_.store(true, std::memory_order_seq_cst);
    sleeper_.wake();
  }
  bool abandoned() const { return abandoned_.load(std::memory_order_acquire); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kSliceMs = 100;  ///< a sleep is never longer, whatever was missed
  static constexpr int kTriesBetweenClocks = 16;
  static constexpr std::chrono::microseconds kPureSpin{5};

  static int64_t ms_since(Clock::time_point then) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - then).count();
  }

  /// Ends with `nothing` when the time to spin is over or the wait was abandoned.
  template <class Attempt>
  Step spin(Attempt& attempt, Clock::time_point since) {
    if (times_.spin_us <= 0) return Step::nothing;
    const auto until = since + std::chrono::microseconds(times_.spin_us);
    do {
      for (int i = 0; i < kTriesBetweenClocks; ++i) {
        const Step step = attempt();
        if (step != Step::nothing) return step;
        __builtin_ia32_pause();
      }
      // The peer may be waiting for this very core: the scheduler likes to put one who was woken beside the one who
      // woke it.
      if (Clock::now() - since > kPureSpin) sched_yield();
    } while (Clock::now() < until && !abandoned_.load(std::memory_order_acquire));
    return Step::nothing;
  }

  template <class Attempt>
  Step attempt_disarming(Attempt& attempt) {
    try {
      return attempt();
    } catch (...) {
      sleeper_.disarm();
      throw;
    }
  }

  [[noreturn]] void give_up(const std::string& what) {
    const std::lock_guard lock(mutex_);
    throw CommunicatorError(Part::parallel, fmt::format("{}: abandoned: {}", what, reason_));
  }

  const WaitTimes times_;
  Sleeper& sleeper_;
  std::atomic<bool> abandoned_{false};
  std::mutex mutex_;
  std::string reason_;
};

}  // namespace echelon
