// Time of a simulation: events in the order of their times, and of equal times in the order in which they were made.
// One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace echelon {

/// Time: seconds, or whole ticks.
template <typename Time>
class VirtualClock {
 public:
  Time now() const { return now_; }
  /// what() runs at this time, or next where that has passed.
  void at(Time time, std::function<void()> what) { events_.push({time, made_++, std::move(what)}); }
  /// False when nothing is left.
  bool run_next() {
    if (events_.empty()) return false;
    Event event = events_.top();
    events_.pop();
    now_ = event.time > now_ ? event.time : now_;
    event.what();
    return true;
  }

 private:
  struct Event {
    Time time;
    uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& other) const { return time != other.time ? time > other.time : order > other.order; }
  };
  std::priority_queue<Event> events_;
  Time now_ = 0;
  uint64_t made_ = 0;
};

}  // namespace echelon
