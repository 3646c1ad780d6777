// When requests end unless they have ended, or started, before. One thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <tuple>

#include "engine/request.h"

namespace echelon {

class Deadlines {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Kind { start, finish };  ///< what has to have happened by then
  struct Due {
    RequestHandle handle = 0;
    Kind kind{};
  };

  void add(Time time, RequestHandle handle, Kind kind) { entries_.emplace(time, handle, kind); }
  /// One that is not there is no error.
  void remove(Time time, RequestHandle handle, Kind kind) { entries_.erase({time, handle, kind}); }

  /// The earliest, or `latest` when that is before it.
  Time next_before(Time latest) const {
    return entries_.empty() ? latest : std::min(latest, std::get<Time>(*entries_.begin()));
  }

  /// Takes out one that is due.
  std::optional<Due> take_due(Time now) {
    if (entries_.empty() || std::get<Time>(*entries_.begin()) > now) return std::nullopt;
    const auto [time, handle, kind] = *entries_.begin();
    entries_.erase(entries_.begin());
    return Due{handle, kind};
  }

 private:
  std::set<std::tuple<Time, RequestHandle, Kind>> entries_;
};

}  // namespace echelon
